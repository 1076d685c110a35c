"""The selection of runs, and the errors when no run matches."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.analysis import select_runs
from orchestrator.errors import RequestError
from tests.support.run_folders import records, write_run, write_sweep


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Three single runs, one without an evaluation, and a sweep of two trials and a superseded run."""
    storage = tmp_path / "runs"
    write_run(storage / "feddst-1", method="feddst", about={"name": "sparse one"})
    write_run(storage / "fedavg-1", about={"name": "dense one", "tags": {"note": "x"}})
    write_run(storage / "fedavg-2", rounds=records(None, None))
    write_sweep(storage / "sweep-1")
    write_run(storage / "sweep-1" / "trial-1", about={"tags": {"trial": "1"}})
    write_run(storage / "sweep-1" / "trial-2", method="feddst", about={"tags": {"trial": "2"}})
    write_run(storage / "sweep-1" / "trial-3", about={"superseded_by": "trial-1", "tags": {"trial": "3"}})
    (storage / "mlflow.db").touch()
    (storage / "mlartifacts").mkdir()
    return storage


def _ids(storage: Path, *names: str, **criteria: object) -> list[str]:
    return [run.run_id for run in select_runs(storage, names, **criteria).runs]  # type: ignore[arg-type]


def _rejection(storage: Path, *names: str, **criteria: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        _ids(storage, *names, **criteria)
    return caught.value


def test_default_selection_is_the_runs_outside_of_sweeps(storage: Path) -> None:
    found = select_runs(storage)
    assert [run.run_id for run in found.runs] == ["fedavg-1", "feddst-1"]
    (note,) = found.notes
    assert note.startswith("fedavg-2 is left out")


def test_round_with_personal_accuracy_counts_as_evaluated(storage: Path) -> None:
    lines = records(None)
    lines[0].metrics["personal/accuracy_mean"] = 0.5
    write_run(storage / "local-1", rounds=lines)
    assert "local-1" in _ids(storage)


def test_names_may_be_ids_patterns_folders_and_mlflow_ids(storage: Path) -> None:
    (storage / "feddst-1" / "tracking.json").write_text(json.dumps({"mlflow_run_id": "ab12"}))
    elsewhere = write_run(storage.parent / "elsewhere" / "run-9")
    assert _ids(storage, "trial-1", "fedavg-1") == ["fedavg-1", "trial-1"]
    assert _ids(storage, "fed*-1", "feddst-1", "ab12", str(storage / "feddst-1")) == ["fedavg-1", "feddst-1"]
    assert _ids(storage, "sweep-1/trial-2") == ["trial-2"]
    assert _ids(storage, str(elsewhere)) == ["run-9"]
    assert _ids(storage, "ab12") == ["feddst-1"]


def test_other_criteria_reduce_the_named_runs(storage: Path) -> None:
    assert _ids(storage, sweep="sweep-1") == ["trial-1", "trial-2"]
    assert _ids(storage, sweep=str(storage / "sweep-1"), tags={"trial": "2"}) == ["trial-2"]
    assert _ids(storage, "*-1", sweep="sweep-1") == ["trial-1"]
    assert _ids(storage, name="* one") == ["fedavg-1", "feddst-1"]
    assert _ids(storage, tags={"method": "feddst"}) == ["feddst-1", "trial-2"]
    assert _ids(storage, tags={"method": "feddst", "trial": "2"}) == ["trial-2"]
    assert _ids(storage, "fed*", name="sparse*") == ["feddst-1"]


def test_superseded_run_is_selected_only_by_its_exact_name(storage: Path) -> None:
    for found in (select_runs(storage, ["trial-*"]), select_runs(storage, sweep="sweep-1")):
        assert [run.run_id for run in found.runs] == ["trial-1", "trial-2"]
        (note,) = found.notes
        assert note.startswith("trial-3 is left out: trial-1")
    assert _ids(storage, "trial-3") == ["trial-3"]
    assert _ids(storage, "sweep-1/trial-3") == ["trial-3"]


def test_damaged_run_is_left_out_with_a_note(storage: Path) -> None:
    (storage / "feddst-1" / "config.yaml").write_text("[")
    (storage / "sweep-1" / "trial-1" / "metrics.jsonl").write_text("nonsense\n")
    found = select_runs(storage, ["feddst-1", "trial-1", "fedavg-1"])
    assert [run.run_id for run in found.runs] == ["fedavg-1"]
    assert [note.split(": ")[0] for note in found.notes] == ["feddst-1 is left out", "trial-1 is left out"]
    assert "metrics.jsonl, line 1" in found.notes[1]


def test_unknown_name_is_rejected_with_a_suggestion(storage: Path) -> None:
    error = _rejection(storage, "fedavg-1", "fedst-1")
    assert (error.field, error.value) == ("RUN", "fedst-1")
    assert "'feddst-1'" in error.remedy
    names = "fedavg-1, fedavg-2, feddst-1, trial-1, trial-2 and 1 more"
    assert names in _rejection(storage, "q?").remedy


def test_sweep_as_a_name_is_rejected_with_the_sweep_option(storage: Path) -> None:
    error = _rejection(storage, "sweep-1")
    assert (error.field, error.value) == ("RUN", "sweep-1")
    assert "--sweep sweep-1" in error.remedy


@pytest.mark.parametrize(
    ("names", "criteria", "field", "value", "remedy"),
    [
        ((), {"sweep": "sweep-2"}, "--sweep", "sweep-2", "'sweep-1'"),
        (("fedavg-1",), {"sweep": "sweep-1"}, "--sweep", "sweep-1", "another sweep"),
        ((), {"name": "spars one"}, "--name", "spars one", "'sparse one'"),
        ((), {"tags": {"method": "fedst"}}, "--tag", "method=fedst", "'feddst'"),
        ((), {"tags": {"metod": "fedavg"}}, "--tag", "metod=fedavg", "'method'"),
        (("fed*",), {"tags": {"trial": "2"}}, "--tag", "trial=2", "choose from"),
    ],
)
def test_criterion_without_a_match_is_rejected(
    storage: Path, names: tuple[str, ...], criteria: dict[str, object], field: str, value: str, remedy: str
) -> None:
    error = _rejection(storage, *names, **criteria)
    assert (error.field, error.value) == (field, value)
    assert remedy in error.remedy


def test_selection_without_an_evaluated_run_is_rejected_with_the_notes(storage: Path) -> None:
    error = _rejection(storage, "fedavg-2")
    assert error.field == "runtime.storage"
    assert "fedavg-2 is left out" in error.problem


def test_sweep_without_trials_is_rejected(storage: Path) -> None:
    for number in (1, 2, 3):
        shutil.rmtree(storage / "sweep-1" / f"trial-{number}")
    error = _rejection(storage, sweep="sweep-1")
    assert (error.field, error.value) == ("--sweep", "sweep-1")


def test_missing_or_empty_storage_is_rejected(storage: Path) -> None:
    empty = storage.parent / "empty"
    missing = _rejection(empty)
    assert (missing.field, missing.value) == ("runtime.storage", empty)
    empty.mkdir()
    error = _rejection(empty)
    assert (error.field, error.value) == ("runtime.storage", empty)
    assert error.problem != missing.problem
    assert _rejection(empty, "run-1").field == "RUN"
