"""Population-based training: a trial goes on with another one's model, in a run of its own."""

from pathlib import Path

import pytest

from orchestrator.errors import SparsefleetError
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.trial import RunLabels, take_over
from orchestrator.tracking.record import read_records
from tests.support.runs import comparable
from tests.support.trial_runs import (
    experiment,
    finish,
    labels,
    opened,
)

LR = ("training.lr",)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """What the donor was after its first step, two rounds of four."""
    with opened(tmp_path / "donor") as trial:
        trial.step()
        (tmp_path / "snapshot").mkdir()
        trial.snapshot(tmp_path / "snapshot")
    return tmp_path / "snapshot"


def test_a_snapshot_is_the_commits_and_the_logs(snapshot: Path, tmp_path: Path) -> None:
    donor = tmp_path / "donor"
    names = {path.relative_to(snapshot) for path in snapshot.rglob("*") if path.is_file()}
    assert {str(name) for name in names} >= {"metrics.jsonl", "events.jsonl", "config.yaml", "run.json"}
    assert all((snapshot / name).read_bytes() == (donor / name).read_bytes() for name in names)
    assert {p.name for p in (snapshot / "commits").iterdir()} == {
        p.name for p in (donor / "commits").iterdir()
    }


def test_the_same_config_ends_where_the_donor_ends(snapshot: Path, tmp_path: Path) -> None:
    store = take_over(snapshot, experiment(), tmp_path / "heir", labels(), ())
    ended = finish(store.folder)
    assert ended.params_sha256 == finish(tmp_path / "donor").params_sha256
    left, right = (read_records(tmp_path / name / "metrics.jsonl") for name in ("heir", "donor"))
    assert comparable(left) == comparable(right)


def test_a_changed_key_counts_from_there_on(snapshot: Path, tmp_path: Path) -> None:
    changed = experiment("training.lr=0.3")
    store = take_over(snapshot, changed, tmp_path / "heir", labels(), LR)
    assert store.config()["training"]["lr"] == 0.3
    with opened(store.folder, changed, replay=False) as trial:
        assert trial.step()["round"] == 4
    heir = read_records(tmp_path / "heir" / "metrics.jsonl")
    donor = read_records(tmp_path / "donor" / "metrics.jsonl")
    assert len(donor) == 2
    assert heir[:2] == donor
    sha256 = RunSummary.read(tmp_path / "heir" / "summary.json").params_sha256
    assert sha256 not in (finish(tmp_path / "donor").params_sha256, finish(tmp_path / "alone", changed))


def test_an_heir_of_an_heir_goes_on_too(snapshot: Path, tmp_path: Path) -> None:
    changed = experiment("training.lr=0.3")
    first = take_over(snapshot, changed, tmp_path / "heir", labels(), LR)
    (tmp_path / "second").mkdir()
    with opened(first.folder, changed, replay=False) as trial:
        trial.snapshot(tmp_path / "second")
    take_over(tmp_path / "second", experiment(), tmp_path / "again", labels(), LR)
    assert finish(tmp_path / "again").params_sha256 == finish(tmp_path / "donor").params_sha256


def test_the_run_says_whom_it_took_over(snapshot: Path, tmp_path: Path) -> None:
    named = RunLabels(name="n", tags={"trial": "3"}, notes={"trial_values": {"training.lr": 0.1}})
    about = take_over(snapshot, experiment(), tmp_path / "heir", named, ()).about()
    assert (about["run_id"], about["name"], about["trial_values"]) == ("heir", "n", {"training.lr": 0.1})
    assert about["tags"].items() >= {"trial": "3", "taken_over_from": "donor"}.items()


@pytest.mark.parametrize(
    ("override", "may_change"),
    [("training.lr=0.3", ()), ("training.lr=0.3", ("training.batch_size",)), ("seed=1", LR)],
)
def test_any_other_changed_key_is_refused_by_name(
    snapshot: Path, tmp_path: Path, override: str, may_change: tuple[str, ...]
) -> None:
    key = override.partition("=")[0]
    with pytest.raises(SparsefleetError, match=f"heir would take over donor under another {key}, which"):
        take_over(snapshot, experiment(override), tmp_path / "heir", labels(), may_change)
    assert not (tmp_path / "heir").exists()


def test_the_donor_is_left_as_it_is(snapshot: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "donor").rglob("*") if path.is_file()}
    take_over(snapshot, experiment("training.lr=0.3"), tmp_path / "heir", labels(), LR)
    finish(tmp_path / "heir", experiment("training.lr=0.3"))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert RunStore(tmp_path / "donor").about()["run_id"] == "donor"
