"""What a resumed sweep finds in its folder: final endings, remaining trials and undelivered runs."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.resumption import final_endings, remaining_trials, restore_trials, undelivered_runs
from orchestrator.sweeping.store import VALUES_NOTE, Ending, EndStatus, SweepStore
from orchestrator.sweeping.trial_run import RunLabels, open_store
from orchestrator.tracking.delivery import Delivery
from tests.support.sweeps import (
    ending,
    evaluated,
    new_store,
    put_run,
    trial,
)
from tests.support.trial_runs import (
    experiment,
    finish,
    labels,
    opened,
)

ACCURACY = Objective.parse("accuracy")
#: two trials of one config, FedDST with two learning rates
BASE = experiment().config.to_dict()
TRIALS = [trial(0, training__lr=0.1), trial(1, training__lr=0.2)]


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    found = new_store(tmp_path)
    found.add_trials(TRIALS)
    return found


class TestRestoreTrials:
    """`restore_trials`, after someone emptied or truncated `trials.jsonl`."""

    @pytest.mark.parametrize("num_bytes", [0, 10, 60])
    def test_planned_trials_are_recorded_again(self, store: SweepStore, num_bytes: int) -> None:
        """Each line has more than 40 bytes, so that no cut leaves the second trial."""
        os.truncate(store.folder / "trials.jsonl", num_bytes)
        lost = restore_trials(store, TRIALS)
        assert [trial.number for trial in lost] in ([0, 1], [1])
        assert store.trials() == TRIALS
        assert b"\0" not in (store.folder / "trials.jsonl").read_bytes()
        assert restore_trials(store, TRIALS) == []

    def test_trials_of_an_adaptive_search_come_from_their_runs(self, store: SweepStore) -> None:
        run = RunStore(store.folder / "sw-1-001")
        run.describe({}, {VALUES_NOTE: dict(TRIALS[1].values)})
        (store.folder / "trials.jsonl").write_bytes(b"")
        assert restore_trials(store, []) == [TRIALS[1]]
        assert store.trials() == [TRIALS[1]]


def _final_endings(store: SweepStore) -> dict[int, Ending]:
    return final_endings(store, TRIALS, ACCURACY, BASE)


class TestFinalEndings:
    """`final_endings`."""

    def test_new_sweep_has_no_final_ending(self, store: SweepStore) -> None:
        assert _final_endings(store) == {}
        assert remaining_trials(store, TRIALS, {}) == TRIALS

    @pytest.mark.parametrize("status", ["finished", "stopped"])
    def test_recorded_ending_is_final(self, store: SweepStore, status: EndStatus) -> None:
        noted = replace(ending(TRIALS[0], run_id="sw-1-000", validation_accuracy=0.5), status=status)
        store.add_ending(noted)
        assert _final_endings(store) == {0: noted}
        assert remaining_trials(store, TRIALS, {0: noted}) == [TRIALS[1]]

    def test_failed_trial_has_no_final_ending(self, store: SweepStore) -> None:
        store.add_ending(ending(TRIALS[0], "failed"))
        assert _final_endings(store) == {}
        store.add_ending(ending(TRIALS[0], validation_accuracy=0.5))
        assert list(_final_endings(store)) == [0], "the last ending counts"

    def test_complete_run_without_ending_gets_one(self, store: SweepStore) -> None:
        folder = store.folder / "sw-1-000"
        summary = finish(folder)
        found = _final_endings(store)
        assert summary.accuracy is not None
        expected = ending(TRIALS[0], run_id="sw-1-000", validation_accuracy=summary.validation_accuracy)
        assert found == store.endings() == {0: expected}
        assert _final_endings(store) == found
        assert len((store.folder / "endings.jsonl").read_text().splitlines()) == 1

    def test_new_ending_has_the_values_of_the_current_run(self, store: SweepStore) -> None:
        values = {"training.lr": 0.3}
        run = open_store(
            experiment("training.lr=0.3"), store.folder / "sw-1-000-g1", RunLabels(name="", tags={}, notes={})
        )
        run.describe(run.config(), {**run.about(), VALUES_NOTE: values})
        finish(run.folder, experiment("training.lr=0.3"))
        found = _final_endings(store)
        assert (found[0].run_id, found[0].values) == ("sw-1-000-g1", values)

    def test_incomplete_run_has_no_final_ending(self, store: SweepStore) -> None:
        with opened(store.folder / "sw-1-000") as run:
            run.step()
        assert _final_endings(store) == {}
        assert store.endings() == {}

    def test_complete_run_of_another_config_gets_no_ending(self, store: SweepStore) -> None:
        finish(store.folder / "sw-1-001")
        assert _final_endings(store) == {}
        assert store.endings() == {}

    def test_superseded_run_gets_no_ending(self, store: SweepStore) -> None:
        """The trial finished this run, and later continued from another trial's model."""
        finish(store.folder / "sw-1-000")
        open_store(experiment(), store.folder / "sw-1-000-g1", labels())
        assert _final_endings(store) == {}
        assert RunStore(store.folder / "sw-1-000").about()["superseded_by"] == "sw-1-000-g1"


def test_remaining_trials_have_the_values_of_their_current_runs(store: SweepStore) -> None:
    noted = RunLabels(name="", tags={}, notes={VALUES_NOTE: {"training.lr": 0.25}})
    open_store(experiment(), store.folder / "sw-1-001-g1", noted)
    (store.folder / "sw-1-000").mkdir()
    assert remaining_trials(store, TRIALS, {}) == [TRIALS[0], trial(1, training__lr=0.25)]


class TestUndelivered:
    """`undelivered_runs`."""

    @staticmethod
    def _ended(store: SweepStore, num_records: int = 2) -> Ending:
        folder = put_run(store, "sw-1-000")
        lines = [evaluated(n, 0.1).to_line() + "\n" for n in range(num_records)]
        (folder / "metrics.jsonl").write_text("".join(lines))
        return ending(TRIALS[0], run_id="sw-1-000", validation_accuracy=0.1)

    @pytest.mark.parametrize(
        ("num_delivered", "ended", "missing"),
        [(2, True, False), (1, True, True), (2, False, True), (0, False, True)],
    )
    def test_tracking_json_tells_whether_a_run_is_delivered(
        self, store: SweepStore, num_delivered: int, ended: bool, missing: bool
    ) -> None:
        found = self._ended(store)
        delivery = Delivery(
            uri="u",
            experiment="e",
            delivery_id="d",
            mlflow_run_id="m",
            num_delivered=num_delivered,
            ended=ended,
        )
        delivery.save(store.folder / "sw-1-000")
        folder = store.folder / "sw-1-000"
        assert list(undelivered_runs(store, TRIALS, {0: found})) == (
            [(folder, "finished")] if missing else []
        )

    def test_run_without_tracking_json_is_undelivered(self, store: SweepStore) -> None:
        found = self._ended(store)
        assert list(undelivered_runs(store, TRIALS, {0: found})) == [(store.folder / "sw-1-000", "finished")]

    def test_superseded_run_is_undelivered_and_gets_a_summary(self, store: SweepStore) -> None:
        finish(store.folder / "sw-1-000")
        (store.folder / "sw-1-000" / "summary.json").unlink()
        with opened(store.folder / "sw-1-000-g1") as run:
            run.step()
        assert list(undelivered_runs(store, TRIALS, {})) == [(store.folder / "sw-1-000", "stopped")]
        assert RunSummary.read(store.folder / "sw-1-000" / "summary.json").interrupted

    def test_trial_without_a_run_has_nothing_to_deliver(self, store: SweepStore) -> None:
        assert list(undelivered_runs(store, TRIALS, {0: ending(TRIALS[0], "failed")})) == []
