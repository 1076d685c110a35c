"""A sweep's folder: durable lines, their order, run folders, and damaged files."""

import json
import shutil
from math import inf
from pathlib import Path

import pytest

from orchestrator.commands import resume_sweep_line
from orchestrator.errors import CheckpointError
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.store import (
    VALUES_NOTE,
    Ending,
    SweepStore,
    current_trial,
    discard_incomplete_run,
)
from tests.support.sweeps import ending, new_store, trial


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    return new_store(tmp_path)


def _describe(store: SweepStore, space: str = "smoke", requested: str | None = None) -> None:
    store.describe({"space": space, "request": {"space": requested or space}, "base": {}})


def _run(store: SweepStore, name: str, **about: object) -> RunStore:
    (store.folder / name).mkdir()
    run = RunStore(store.folder / name)
    run.describe({"seed": 1}, {"run_id": name, **about})
    return run


def test_sweep_that_is_a_part_is_resumed_by_the_command_of_the_whole(tmp_path: Path) -> None:
    assert SweepStore(tmp_path).resume_command == resume_sweep_line(tmp_path)
    assert SweepStore(tmp_path, "resume the whole").resume_command == "resume the whole"


def test_data_notes_have_no_duplicates(store: SweepStore) -> None:
    store.add_trials([trial(n, seed=n) for n in range(4)])
    _run(store, "sw-1-000", data_notes=["left out: a", "left out: b"])
    _run(store, "sw-1-001")
    _run(store, "sw-1-002", data_notes=["left out: b", "left out: c"])
    assert store.data_notes() == ["left out: a", "left out: b", "left out: c"]


class TestLines:
    """Trials, endings and metrics, one per line."""

    def test_new_sweep_has_no_trials_and_endings(self, store: SweepStore) -> None:
        assert (store.trials(), store.endings(), store.sweep_id) == ([], {}, "sw-1")

    def test_trials_are_ordered_by_number(self, store: SweepStore) -> None:
        first, second, third = (trial(n, seed=n) for n in range(3))
        store.add_trials([third, first])
        store.add_trials([])
        store.add_trials([second])
        assert SweepStore(store.folder).trials() == [first, second, third]

    def test_last_ending_of_a_trial_counts(self, store: SweepStore) -> None:
        spec, other = trial(0, seed=0), trial(1, seed=1)
        for each in (
            ending(spec, "failed"),
            ending(other, validation_accuracy=0.1),
            ending(spec, validation_accuracy=0.5),
        ):
            store.add_ending(each)
        assert store.endings() == {
            0: ending(spec, validation_accuracy=0.5),
            1: ending(other, validation_accuracy=0.1),
        }

    def test_ending_with_an_infinite_goal_round_trips(self) -> None:
        never = ending(trial(2, seed=1), run_id="r", validation_time_to_accuracy_s=inf)
        assert Ending.from_line(never.to_line().encode()) == never

    def test_goals_of_an_earlier_version_are_on_test_data(self) -> None:
        stored = ending(trial(2, seed=1), run_id="r", accuracy=0.5, upload_bytes=3.0)
        expected = ending(trial(2, seed=1), run_id="r", test_accuracy=0.5, upload_bytes=3.0)
        assert Ending.from_line(stored.to_line().encode()) == expected

    @pytest.mark.parametrize("torn", ['{"number":7', '{"number":7,"values":{}}'])
    def test_partial_line_of_a_killed_process_is_ignored_and_removed(
        self, store: SweepStore, torn: str
    ) -> None:
        """A complete line without a newline does not count either, because its write did not return."""
        store.add_trials([trial(0)])
        with (store.folder / "trials.jsonl").open("a") as file:
            file.write(torn)
        assert store.trials() == [trial(0)]
        store.add_trials([trial(1)])
        assert store.trials() == [trial(0), trial(1)]
        assert (store.folder / "trials.jsonl").read_bytes().endswith(b'"values":{}}\n')

    def test_partial_first_line_is_removed(self, store: SweepStore) -> None:
        (store.folder / "endings.jsonl").write_text('{"num')
        store.add_ending(ending(trial(4), validation_accuracy=0.5))
        assert list(store.endings()) == [4]

    def test_line_that_cannot_be_written_is_an_error_with_the_file(self, store: SweepStore) -> None:
        shutil.rmtree(store.folder)
        with pytest.raises(CheckpointError, match=str(store.folder / "endings.jsonl")):
            store.add_ending(ending(trial(4), accuracy=0.5))

    @pytest.mark.parametrize(("name", "line"), [("trials.jsonl", "nonsense"), ("trials.jsonl", '{"a":1}')])
    def test_error_names_the_line_of_an_invalid_trial(self, store: SweepStore, name: str, line: str) -> None:
        store.add_trials([trial(0)])
        with (store.folder / name).open("a") as file:
            file.write(f"{line}\n")
        with pytest.raises(CheckpointError, match=r"line 2 of .*trials\.jsonl"):
            store.trials()

    @pytest.mark.parametrize("line", ["nonsense", '{"number":1}', "[1]", '{"unknown":1}'])
    def test_error_names_the_line_of_an_invalid_ending(self, store: SweepStore, line: str) -> None:
        (store.folder / "endings.jsonl").write_text(f"{line}\n")
        with pytest.raises(CheckpointError, match=r"line 1 of .*endings\.jsonl"):
            store.endings()

    def test_records_of_the_sweep_are_numbered(self, store: SweepStore) -> None:
        first, second = store.add_record({"a": 1.0}), store.add_record({"a": 2.0})
        assert [(r.round_idx, r.metrics) for r in (first, second)] == [(0, {"a": 1.0}), (1, {"a": 2.0})]
        lines = (store.folder / "metrics.jsonl").read_text().splitlines()
        assert lines == [first.to_line(), second.to_line()]


class TestAbout:
    """sweep.json."""

    def test_description_round_trips(self, store: SweepStore) -> None:
        about = {"request": {"space": "smoke"}, "base": {"seed": 1}, "more": [1]}
        store.describe(about)
        assert store.about() == about

    def test_missing_or_invalid_sweep_json_is_rejected(self, store: SweepStore) -> None:
        with pytest.raises(CheckpointError, match=r"sweep\.json"):
            store.about()
        (store.folder / "sweep.json").write_text("[]")
        with pytest.raises(CheckpointError, match=r"sweep\.json"):
            store.about()


class TestRunFolders:
    """The folders of a trial's runs."""

    def test_run_folders_are_ordered_by_generation(self, store: SweepStore) -> None:
        for name in ("sw-1-003-g10", "sw-1-003-g2", "sw-1-003", "sw-1-003-g1", "sw-1-004", "sw-1-004-g7"):
            _run(store, name)
        names = [folder.name for folder in store.run_folders(3)]
        assert names == ["sw-1-003", "sw-1-003-g1", "sw-1-003-g2", "sw-1-003-g10"]
        assert store.next_run_folder(3).name == "sw-1-003-g11"
        assert store.next_run_folder(4).name == "sw-1-004-g8"

    def test_current_run_is_the_last_complete_folder(self, store: SweepStore) -> None:
        assert store.run_folders(3) == []
        assert store.run_folder(3) == store.folder / "sw-1-003"
        (store.folder / "sw-1-003").mkdir()
        assert store.run_folder(3).name == "sw-1-003"
        assert store.next_run_folder(3).name == "sw-1-003-g1"
        _run(store, "sw-1-003-g1")
        (store.folder / "sw-1-003-g2").mkdir()
        assert store.run_folder(3).name == "sw-1-003-g1"

    def test_sweep_id_may_end_like_a_generation(self, tmp_path: Path) -> None:
        store = new_store(tmp_path, "sw-g7")
        (store.folder / "sw-g7-000").mkdir()
        assert store.next_run_folder(0).name == "sw-g7-000-g1"
        assert [folder.name for folder in store.run_folders(0)] == ["sw-g7-000"]

    def test_trial_1000_does_not_share_folders_with_trial_100(self, store: SweepStore) -> None:
        _run(store, "sw-1-1000")
        assert store.run_folder(1000).name == "sw-1-1000"
        assert store.run_folders(100) == []

    def test_earlier_runs_are_marked_as_superseded_by_the_current_run(self, store: SweepStore) -> None:
        runs = [_run(store, f"sw-1-000{end}", kept=1) for end in ("", "-g1", "-g2")]
        (store.folder / "sw-1-000-g3").mkdir()
        store.mark_superseded(0)
        store.mark_superseded(0)
        assert [run.about().get("superseded_by") for run in runs] == ["sw-1-000-g2", "sw-1-000-g2", None]
        assert runs[0].about() == {"run_id": "sw-1-000", "kept": 1, "superseded_by": "sw-1-000-g2"}
        assert runs[0].config()["seed"] == 1

    def test_only_run_is_not_marked_as_superseded(self, store: SweepStore) -> None:
        run = _run(store, "sw-1-000")
        store.mark_superseded(0)
        assert run.about() == {"run_id": "sw-1-000"}

    def test_current_trial_has_the_values_of_its_run(self, store: SweepStore) -> None:
        spec = trial(0, training__lr=0.1)
        assert current_trial(_run(store, "sw-1-000"), spec) == spec
        changed = _run(store, "sw-1-000-g1", **{VALUES_NOTE: {"training.lr": 0.2}})
        assert current_trial(changed, spec) == trial(0, training__lr=0.2)

    def test_incomplete_run_folder_is_removed_and_complete_one_kept(self, store: SweepStore) -> None:
        half, whole = store.folder / "half", _run(store, "whole").folder
        half.mkdir()
        (half / "partition.parquet").touch()
        for folder in (half, whole, store.folder / "absent"):
            discard_incomplete_run(folder)
        assert [path.name for path in store.folder.iterdir()] == ["whole"]


def test_locked_sweep_rejects_a_second_process(store: SweepStore) -> None:
    with (
        store.locked(),
        pytest.raises(CheckpointError, match="in use"),
        SweepStore(store.folder).locked(),
    ):
        pass
    with SweepStore(store.folder).locked():
        assert (store.folder / "lock").is_file()


def test_line_of_an_ending_has_every_field() -> None:
    line = json.loads(ending(trial(1, seed=2), "failed", "r").to_line())
    assert line == {
        "number": 1,
        "status": "failed",
        "run_id": "r",
        "cause": "RoundError: too few",
        "objective": {},
        "values": {"seed": 2},
    }
