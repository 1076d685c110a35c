"""What a follower delivers: only committed rounds, and each folder to an MLflow run of its own."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.delivery import Delivery
from tests.support.memory_store import MemoryStore, commit, deliver, points, record, run_info, sink_on


def _commit_durably(run_dir: Path, *round_idxs: int) -> None:
    """Commit rounds of a run as a run store does: first the line, then the pointer."""
    commit(run_dir, *round_idxs)
    (run_dir / "run.json").touch()
    (run_dir / "commits").mkdir(exist_ok=True)
    for round_idx in round_idxs:
        (run_dir / "commits" / f"round-{round_idx:06d}.json").touch()


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "FINISHED"])
def test_round_without_a_checkpoint_is_not_delivered(tmp_path: Path, status: str) -> None:
    """The line of round 2 is in `metrics.jsonl`, but its checkpoint could not be written."""
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    _commit_durably(run_dir, 0, 1)
    sink.log(record(1))
    commit(run_dir, 2)
    sink.finish(status, {})  # type: ignore[arg-type]
    assert sink.close().num_logged == 2
    assert store.points["m0"] == points(0, 1)
    assert store.runs["m0"].info.end_time == record(1).timestamp_ms


def test_round_is_delivered_once_after_its_checkpoint(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    _commit_durably(run_dir, 0)
    commit(run_dir, 1)
    first = sink_on(store)
    first.start(run_info(run_dir))
    first.finish("FAILED", {})
    first.close()
    (run_dir / "commits" / "round-000001.json").touch()
    again = sink_on(store)
    again.start(run_info(run_dir))
    again.finish("FINISHED", {})
    assert again.close().num_logged == 2
    assert store.points["m0"] == points(0, 1)


def test_run_that_fails_before_its_first_checkpoint_delivers_nothing(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    commit(run_dir, 0)
    (run_dir / "run.json").touch()
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    sink.finish("FAILED", {})
    assert sink.close().num_logged == 0
    assert store.points["m0"] == []


class TestCopies:
    """A folder that was copied or moved, and then resumed."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def original(self, store: MemoryStore, tmp_path: Path) -> Path:
        """The folder of a run whose two rounds are delivered to the MLflow run m0."""
        deliver(store, tmp_path / "original", 0, 1)
        return tmp_path / "original"

    def test_copy_beside_its_original_gets_a_run_of_its_own(
        self, store: MemoryStore, original: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(original, tmp_path / "copy"))
        assert deliver(store, copy, 2).mlflow_run_id == "m1"
        assert store.points["m1"] == points(0, 1, 2)
        assert deliver(store, original, 2, 3).mlflow_run_id == "m0"
        assert store.points["m0"] == points(0, 1, 2, 3)
        assert deliver(store, copy, 3).mlflow_run_id == "m1"
        assert len(store.runs) == 2

    def test_copy_of_a_copy_gets_a_run_of_its_own(
        self, store: MemoryStore, original: Path, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(original, tmp_path / "copy"))
        deliver(store, copy, 2)
        second = Path(shutil.copytree(copy, tmp_path / "second"))
        assert deliver(store, second, 3).mlflow_run_id == "m2"

    def test_moved_folder_keeps_its_run(self, store: MemoryStore, original: Path, tmp_path: Path) -> None:
        moved = Path(shutil.move(original, tmp_path / "moved"))
        assert deliver(store, moved, 2).mlflow_run_id == "m0"
        assert store.points["m0"] == points(0, 1, 2)
        saved = Delivery.load(moved)
        assert saved is not None
        assert saved.is_of(moved)

    def test_copy_gets_a_run_of_its_own_when_the_original_is_out_of_sight(
        self, store: MemoryStore, original: Path, tmp_path: Path
    ) -> None:
        """As on another machine: MLflow has a round that the copy does not have."""
        copy = Path(shutil.copytree(original, tmp_path / "copy"))
        deliver(store, original, 2)
        shutil.rmtree(original)
        assert deliver(store, copy, 2).mlflow_run_id == "m1"
        assert store.points["m0"] == points(0, 1, 2)
        assert store.points["m1"] == points(0, 1, 2)

    def test_folder_of_an_old_release_keeps_its_run(self, store: MemoryStore, original: Path) -> None:
        saved = Delivery.load(original)
        assert saved is not None
        replace(saved, folder="").save(original)
        assert deliver(store, original, 2).mlflow_run_id == "m0"

    def test_link_to_a_folder_is_no_copy(self, store: MemoryStore, original: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(original)
        assert deliver(store, tmp_path / "link", 2).mlflow_run_id == "m0"

    def test_copy_for_another_store_keeps_its_id(self, original: Path, tmp_path: Path) -> None:
        """A storage folder that was copied with its database continues the copied MLflow run."""
        copy = Path(shutil.copytree(original, tmp_path / "copy"))
        saved = Delivery.load(original)
        assert saved is not None
        assert Delivery.open("sqlite:////other.db", "e", copy).delivery_id == saved.delivery_id
