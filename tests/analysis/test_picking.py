"""Which runs are meant, and what is said when none is."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.analysis import pick_runs
from orchestrator.errors import RequestError
from tests.support.run_folders import records, write_run, write_sweep


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Three single runs, one of them with no evaluation, and a sweep of two trials and an abandoned one."""
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


def ids(storage: Path, *names: str, **criteria: object) -> list[str]:
    return [run.run_id for run in pick_runs(storage, names, **criteria).runs]  # type: ignore[arg-type]


def refusal(storage: Path, *names: str, **criteria: object) -> str:
    with pytest.raises(RequestError) as caught:
        ids(storage, *names, **criteria)
    return str(caught.value)


def test_with_nothing_given_it_is_the_single_runs(storage: Path) -> None:
    found = pick_runs(storage)
    assert [run.run_id for run in found.runs] == ["fedavg-1", "feddst-1"]
    assert found.notes == ("fedavg-2 is left out: none of its 2 rounds was evaluated",)


def test_a_round_that_only_scored_personal_models_is_evaluated(storage: Path) -> None:
    lines = records(None)
    lines[0].metrics["personal/accuracy_mean"] = 0.5
    write_run(storage / "local-1", rounds=lines)
    assert "local-1" in ids(storage)


def test_names_are_ids_patterns_folders_and_mlflows_ids_and_none_counts_twice(storage: Path) -> None:
    (storage / "feddst-1" / "tracking.json").write_text(json.dumps({"mlflow_run_id": "ab12"}))
    elsewhere = write_run(storage.parent / "elsewhere" / "run-9")
    assert ids(storage, "trial-1", "fedavg-1") == ["fedavg-1", "trial-1"]
    assert ids(storage, "fed*-1", "feddst-1", "ab12", str(storage / "feddst-1")) == ["fedavg-1", "feddst-1"]
    assert ids(storage, "sweep-1/trial-2") == ["trial-2"]
    assert ids(storage, str(elsewhere)) == ["run-9"]
    assert ids(storage, "ab12") == ["feddst-1"]


def test_the_other_criteria_narrow_what_the_names_mean(storage: Path) -> None:
    assert ids(storage, sweep="sweep-1") == ["trial-1", "trial-2"]
    assert ids(storage, sweep=str(storage / "sweep-1"), tags={"trial": "2"}) == ["trial-2"]
    assert ids(storage, "*-1", sweep="sweep-1") == ["trial-1"]
    assert ids(storage, name="* one") == ["fedavg-1", "feddst-1"]
    assert ids(storage, tags={"method": "feddst"}) == ["feddst-1", "trial-2"]
    assert ids(storage, tags={"method": "feddst", "trial": "2"}) == ["trial-2"]
    assert ids(storage, "fed*", name="sparse*") == ["feddst-1"]


def test_an_abandoned_run_counts_only_when_it_is_named_exactly(storage: Path) -> None:
    note = "trial-3 is left out: trial-1 went on in its place"
    assert note in pick_runs(storage, ["trial-*"]).notes
    assert note in pick_runs(storage, sweep="sweep-1").notes
    assert ids(storage, "trial-3") == ["trial-3"]
    assert ids(storage, "sweep-1/trial-3") == ["trial-3"]


def test_a_damaged_run_is_left_out_with_its_reason(storage: Path) -> None:
    (storage / "feddst-1" / "config.yaml").write_text("[")
    (storage / "sweep-1" / "trial-1" / "metrics.jsonl").write_text("nonsense\n")
    found = pick_runs(storage, ["feddst-1", "trial-1", "fedavg-1"])
    assert [run.run_id for run in found.runs] == ["fedavg-1"]
    assert [note.split(": ")[0] for note in found.notes] == ["feddst-1 is left out", "trial-1 is left out"]
    assert "metrics.jsonl, line 1" in found.notes[1]


def test_a_name_that_fits_nothing_is_answered_with_near_ones(storage: Path) -> None:
    text = refusal(storage, "fedavg-1", "fedst-1")
    assert text.startswith("RUN=fedst-1: no run has that id or fits that pattern; did you mean 'feddst-1'?")
    assert "choose from fedavg-1, fedavg-2, feddst-1, trial-1, trial-2 and 1 more" in refusal(storage, "q?")
    assert "RUN=sweep-1: that is a sweep, not a run; ask for --sweep sweep-1" in refusal(storage, "sweep-1")


def test_a_criterion_that_nothing_fits_is_named(storage: Path) -> None:
    assert "--sweep=sweep-2: there is no such sweep" in refusal(storage, sweep="sweep-2")
    assert "did you mean 'sweep-1'?" in refusal(storage, sweep="sweep-2")
    assert "none of the runs named is one of its trials" in refusal(storage, "fedavg-1", sweep="sweep-1")
    assert "--name=spars one: no run's name fits that; did you mean 'sparse one'?" in refusal(
        storage, name="spars one"
    )
    wrong_value = refusal(storage, tags={"method": "fedst"})
    assert "--tag=method=fedst: no run has that value; did you mean 'feddst'?" in wrong_value
    wrong_tag = refusal(storage, tags={"metod": "fedavg"})
    assert "--tag=metod=fedavg: no run has that tag; did you mean 'method'?" in wrong_tag
    assert "--tag=trial=2: no run has that tag" in refusal(storage, "fed*", tags={"trial": "2"})


def test_where_there_is_nothing_to_compare_it_is_said_why(storage: Path) -> None:
    assert "fedavg-2 is left out: none of its 2 rounds" in refusal(storage, "fedavg-2")
    shutil.rmtree(storage / "sweep-1" / "trial-1")
    for name in ("trial-2", "trial-3"):
        shutil.rmtree(storage / "sweep-1" / name)
    assert "it has no trials yet" in refusal(storage, sweep="sweep-1")
    empty = storage.parent / "empty"
    assert f"runtime.storage={empty}: there is no such folder" in refusal(empty)
    empty.mkdir()
    assert "there is no run in it" in refusal(empty)
    assert "none exists yet" in refusal(empty, "run-1")
