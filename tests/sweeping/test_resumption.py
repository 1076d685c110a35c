"""What a sweep that goes on finds in its folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.resumption import left_over, settled, undelivered
from orchestrator.sweeping.store import VALUES_NOTE, Ending, EndStatus, SweepStore
from orchestrator.sweeping.trial import RunLabels, open_store
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
#: two trials of one base config: feddst with two learning rates
BASE = experiment().config.to_dict()
TRIALS = [trial(0, training__lr=0.1), trial(1, training__lr=0.2)]


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    found = new_store(tmp_path)
    found.add_trials(TRIALS)
    return found


def _settled(store: SweepStore) -> dict[int, Ending]:
    return settled(store, TRIALS, ACCURACY, BASE)


class TestSettled:
    """Which trials are not to run again."""

    def test_at_first_none_is(self, store: SweepStore) -> None:
        assert _settled(store) == {}
        assert left_over(store, TRIALS, {}) == TRIALS

    @pytest.mark.parametrize("status", ["finished", "stopped"])
    def test_a_noted_ending_is_taken_as_it_is(self, store: SweepStore, status: EndStatus) -> None:
        noted = replace(ending(TRIALS[0], run_id="sw-1-000", accuracy=0.5), status=status)
        store.add_ending(noted)
        assert _settled(store) == {0: noted}
        assert left_over(store, TRIALS, {0: noted}) == [TRIALS[1]]

    def test_a_failed_trial_is_tried_again(self, store: SweepStore) -> None:
        store.add_ending(ending(TRIALS[0], "failed"))
        assert _settled(store) == {}
        store.add_ending(ending(TRIALS[0], accuracy=0.5))
        assert list(_settled(store)) == [0], "until it has ended otherwise"

    def test_a_complete_run_without_an_ending_is_recognised(self, store: SweepStore) -> None:
        folder = store.folder / "sw-1-000"
        summary = finish(folder)
        found = _settled(store)
        assert summary.accuracy is not None
        expected = ending(TRIALS[0], run_id="sw-1-000", accuracy=summary.accuracy)
        assert found == store.endings() == {0: expected}
        assert _settled(store) == found
        assert len((store.folder / "endings.jsonl").read_text().splitlines()) == 1

    def test_one_whose_values_were_changed_on_its_way_has_those(self, store: SweepStore) -> None:
        values = {"training.lr": 0.3}
        run = open_store(
            experiment("training.lr=0.3"), store.folder / "sw-1-000-g1", RunLabels(name="", tags={}, notes={})
        )
        run.describe(run.config(), {**run.about(), VALUES_NOTE: values})
        finish(run.folder, experiment("training.lr=0.3"))
        found = _settled(store)
        assert (found[0].run_id, found[0].values) == ("sw-1-000-g1", values)

    def test_a_run_that_is_not_complete_is_not(self, store: SweepStore) -> None:
        with opened(store.folder / "sw-1-000") as run:
            run.step()
        assert _settled(store) == {}
        assert store.endings() == {}

    def test_a_complete_run_of_another_config_is_not_the_trial_s(self, store: SweepStore) -> None:
        finish(store.folder / "sw-1-001")
        assert _settled(store) == {}
        assert store.endings() == {}

    def test_an_earlier_run_of_a_trial_does_not_count(self, store: SweepStore) -> None:
        """The trial had finished with it, then went on with another's model."""
        finish(store.folder / "sw-1-000")
        open_store(experiment(), store.folder / "sw-1-000-g1", labels())
        assert _settled(store) == {}
        assert RunStore(store.folder / "sw-1-000").about()["superseded_by"] == "sw-1-000-g1"


def test_what_is_left_has_the_values_of_its_present_run(store: SweepStore) -> None:
    noted = RunLabels(name="", tags={}, notes={VALUES_NOTE: {"training.lr": 0.25}})
    open_store(experiment(), store.folder / "sw-1-001-g1", noted)
    (store.folder / "sw-1-000").mkdir()
    assert left_over(store, TRIALS, {}) == [TRIALS[0], trial(1, training__lr=0.25)]


class TestUndelivered:
    """Which endings MLflow does not hold whole."""

    @staticmethod
    def _ended(store: SweepStore, num_records: int = 2) -> Ending:
        folder = put_run(store, "sw-1-000")
        lines = [evaluated(n, 0.1).to_line() + "\n" for n in range(num_records)]
        (folder / "metrics.jsonl").write_text("".join(lines))
        return ending(TRIALS[0], run_id="sw-1-000", accuracy=0.1)

    @pytest.mark.parametrize(
        ("num_delivered", "ended", "missing"),
        [(2, True, False), (1, True, True), (2, False, True), (0, False, True)],
    )
    def test_the_run_s_own_note_says_it(
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
        assert list(undelivered(store, TRIALS, {0: found})) == ([(folder, "finished")] if missing else [])

    def test_a_run_that_nobody_followed_is_missing(self, store: SweepStore) -> None:
        found = self._ended(store)
        assert list(undelivered(store, TRIALS, {0: found})) == [(store.folder / "sw-1-000", "finished")]

    def test_a_run_that_its_trial_went_on_without_is_delivered_too(self, store: SweepStore) -> None:
        finish(store.folder / "sw-1-000")
        (store.folder / "sw-1-000" / "summary.json").unlink()
        with opened(store.folder / "sw-1-000-g1") as run:
            run.step()
        assert list(undelivered(store, TRIALS, {})) == [(store.folder / "sw-1-000", "stopped")]
        assert RunSummary.read(store.folder / "sw-1-000" / "summary.json").interrupted

    def test_a_trial_without_a_run_has_nothing_to_deliver(self, store: SweepStore) -> None:
        assert list(undelivered(store, TRIALS, {0: ending(TRIALS[0], "failed")})) == []
