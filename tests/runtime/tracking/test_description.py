"""How runs are described to MLflow."""

import pytest

from orchestrator.experiment.resolved import resolved_values
from orchestrator.runtime.tracking.description import dataset_parts, describe_run, source_tags
from tests.support.runs import prepared


def test_parts_of_the_data_set_have_their_shapes_and_different_digests() -> None:
    experiment = prepared()
    train, test = dataset_parts(experiment)
    assert (train["context"], test["context"]) == ("training", "testing")
    assert train["shape"] == experiment.dataset.train_inputs.shape
    assert train["digest"] != test["digest"]
    assert not train["is_local"], "the bundled digits have no folder"
    assert dataset_parts(prepared("seed=3")) == [train, test], "the digest does not depend on the seed"


def test_description_has_resolved_values_and_the_note_of_the_user() -> None:
    experiment = prepared("algorithm.name=feddst", "tracking.note=Mine.")
    resolved = resolved_values(experiment)
    description = describe_run(experiment.config, resolved, with_note=True)
    assert (description.note, description.settings["sparsity"]) == ("Mine.", "0.8, erk_rescaled")
    assert description.settings["model"].startswith("mlp, ")
    assert description.command.startswith("sparsefleet run algorithm.name=feddst fleet.num_clients=")
    assert describe_run(experiment.config, resolved, with_note=False).note == ""
    assert "sparsity" not in describe_run(experiment.config, {}, with_note=True).settings, (
        "an earlier release"
    )


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/env/bin/sparsefleet", "sparsefleet run"),
        ("/env/orchestrator/cli/__main__.py", "sparsefleet run"),
        ("study.py", "study.py"),
    ],
)
def test_source_is_the_command_or_the_users_script(
    called: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [called])
    assert source_tags({}, "run")["mlflow.source.name"] == name


def test_commit_is_that_of_the_users_folder_first() -> None:
    both = {"git_commit": "a", "package_commit": "b"}
    assert source_tags(both, "run")["mlflow.source.git.commit"] == "a"
    assert source_tags({**both, "git_commit": None}, "run")["mlflow.source.git.commit"] == "b"
    assert "mlflow.source.git.commit" not in source_tags({}, "run")
