"""Names in the form that MLflow accepts; MLflow's own check decides."""

import pytest
from mlflow.utils.validation import _validate_param

from orchestrator.tracking.mlflow.names import MAX_NAME_LENGTH, accepted_name


@pytest.mark.parametrize(
    "name", ["eval/accuracy", "sparsity.layer_density.0.weight", "a-b_c: d 1", "é", "x" * 250]
)
def test_accepted_name_is_unchanged(name: str) -> None:
    assert accepted_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "Pixel 6 (2021)",
        "a=b",
        "loss, mean",
        "a//b",
        "a/",
        "/a",
        "../a",
        "..",
        ".",
        "a/../b",
        "x" * 251,
        "日(本",
        "\t",
    ],
)
def test_rejected_name_becomes_a_similar_name_that_mlflow_accepts(name: str) -> None:
    accepted = accepted_name(name)
    assert accepted != name
    assert len(accepted) <= MAX_NAME_LENGTH
    _validate_param(accepted, "value")


def test_different_names_stay_different() -> None:
    names = ["a(b", "a)b", "a_b", "a=b", "x" * 251, "x" * 252]
    assert len({accepted_name(name) for name in names}) == len(names)
