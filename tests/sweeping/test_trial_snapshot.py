"""Population-based training: a trial continues from the snapshot of another trial, the donor, in a new run."""

from pathlib import Path

import pytest

from orchestrator.errors import SparsefleetError
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.trial_run import RunLabels, begin_from_snapshot
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
    """The donor's snapshot after its first step, which is two of four rounds."""
    with opened(tmp_path / "donor") as trial:
        trial.step()
        (tmp_path / "snapshot").mkdir()
        trial.snapshot(tmp_path / "snapshot")
    return tmp_path / "snapshot"


def test_snapshot_has_the_checkpoints_and_logs(snapshot: Path, tmp_path: Path) -> None:
    donor = tmp_path / "donor"
    names = {path.relative_to(snapshot) for path in snapshot.rglob("*") if path.is_file()}
    assert {str(name) for name in names} >= {"metrics.jsonl", "events.jsonl", "config.yaml", "run.json"}
    assert all((snapshot / name).read_bytes() == (donor / name).read_bytes() for name in names)
    assert {p.name for p in (snapshot / "commits").iterdir()} == {
        p.name for p in (donor / "commits").iterdir()
    }


def test_same_config_ends_with_the_donor_s_bits(snapshot: Path, tmp_path: Path) -> None:
    store = begin_from_snapshot(snapshot, experiment(), tmp_path / "new", labels(), ())
    ended = finish(store.folder)
    assert ended.params_sha256 == finish(tmp_path / "donor").params_sha256
    left, right = (read_records(tmp_path / name / "metrics.jsonl") for name in ("new", "donor"))
    assert comparable(left) == comparable(right)


def test_changed_key_applies_after_the_snapshot(snapshot: Path, tmp_path: Path) -> None:
    changed = experiment("training.lr=0.3")
    store = begin_from_snapshot(snapshot, changed, tmp_path / "new", labels(), LR)
    assert store.config()["training"]["lr"] == 0.3
    with opened(store.folder, changed, replay=False) as trial:
        assert trial.step()["round"] == 4
    new = read_records(tmp_path / "new" / "metrics.jsonl")
    donor = read_records(tmp_path / "donor" / "metrics.jsonl")
    assert len(donor) == 2
    assert new[:2] == donor
    sha256 = RunSummary.read(tmp_path / "new" / "summary.json").params_sha256
    assert sha256 not in (finish(tmp_path / "donor").params_sha256, finish(tmp_path / "alone", changed))


def test_snapshot_of_a_continued_run_can_be_continued(snapshot: Path, tmp_path: Path) -> None:
    changed = experiment("training.lr=0.3")
    first = begin_from_snapshot(snapshot, changed, tmp_path / "new", labels(), LR)
    (tmp_path / "second").mkdir()
    with opened(first.folder, changed, replay=False) as trial:
        trial.snapshot(tmp_path / "second")
    begin_from_snapshot(tmp_path / "second", experiment(), tmp_path / "again", labels(), LR)
    assert finish(tmp_path / "again").params_sha256 == finish(tmp_path / "donor").params_sha256


def test_run_json_names_the_donor(snapshot: Path, tmp_path: Path) -> None:
    named = RunLabels(name="n", tags={"trial": "3"}, notes={"trial_values": {"training.lr": 0.1}})
    about = begin_from_snapshot(snapshot, experiment(), tmp_path / "new", named, ()).about()
    assert (about["run_id"], about["name"], about["trial_values"]) == ("new", "n", {"training.lr": 0.1})
    assert about["tags"].items() >= {"trial": "3", "taken_over_from": "donor"}.items()


@pytest.mark.parametrize(
    ("override", "mutable_keys"),
    [("training.lr=0.3", ()), ("training.lr=0.3", ("training.batch_size",)), ("seed=1", LR)],
)
def test_changed_key_outside_mutations_is_rejected(
    snapshot: Path, tmp_path: Path, override: str, mutable_keys: tuple[str, ...]
) -> None:
    key = override.partition("=")[0]
    with pytest.raises(SparsefleetError, match=key):
        begin_from_snapshot(snapshot, experiment(override), tmp_path / "new", labels(), mutable_keys)
    assert not (tmp_path / "new").exists()


def test_donor_does_not_change(snapshot: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "donor").rglob("*") if path.is_file()}
    begin_from_snapshot(snapshot, experiment("training.lr=0.3"), tmp_path / "new", labels(), LR)
    finish(tmp_path / "new", experiment("training.lr=0.3"))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert RunStore(tmp_path / "donor").about()["run_id"] == "donor"
