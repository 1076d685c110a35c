"""Resolved values of a config, and the command that repeats a run."""

import pytest

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import load_config
from orchestrator.experiment.resolved import command_arguments, method_summary, resolved_values, shown_values
from tests.support.runs import prepared


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["algorithm.name=feddst", "algorithm.alpha=0.1", "sparsity.level=0.9", "training.lr=1e-3"],
        ["data.mean=[0.5]", "data.std=[0.25]", "model.name=mlp"],
        ["fleet.name=five-tier", "selection.kind=power_of_choice", "selection.candidates=7"],
    ],
)
def test_arguments_repeat_the_config(overrides: list[str]) -> None:
    config = load_config(None, [*overrides, "runtime.storage=/elsewhere", "tracking.note=mine"])
    arguments = command_arguments(config)
    repeated = load_config(None, arguments)
    sections = set(ExperimentConfig.model_fields) - {"runtime", "tracking"}
    assert {name: getattr(repeated, name) for name in sections} == {
        name: getattr(config, name) for name in sections
    }
    assert not [argument for argument in arguments if argument.startswith(("runtime.", "tracking."))]


def test_values_that_the_config_leaves_open_are_resolved() -> None:
    experiment = prepared("algorithm.name=feddst")
    resolved = resolved_values(experiment)
    assert experiment.config.sparsity.level is None
    assert (resolved["sparsity.level"], resolved["sparsity.allocation"]) == (0.8, "erk_rescaled")
    assert resolved["model.name"] == "mlp"
    assert resolved["model.num_parameters"] == experiment.setting.layout.size
    shown, others = shown_values(experiment.config, resolved)
    assert (shown["sparsity.level"], shown["algorithm.alpha"], shown["training.lr"]) == (0.8, 0.05, 0.05)
    assert {"runtime.max_retries", "sparsity.level"} & others.keys() == {"runtime.max_retries"}
    assert not set(shown) & set(others)


def test_summary_of_a_method_is_the_first_line_of_its_documentation() -> None:
    assert method_summary("feddst") == "Federated dynamic sparse training."
