"""The result of a sweep: order of the configurations, means over seeds, JSON and table."""

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.result import SweepResult, load_result, read_result
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from tests.support.run_folders import records, write_run
from tests.support.sweeps import (
    ending,
    new_store,
    put_run,
    request,
    summary,
    trial,
)


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    return new_store(tmp_path)


def _result(
    store: SweepStore,
    endings: Sequence[Ending],
    objective: str = "accuracy",
    trials: Sequence[TrialSpec] | None = None,
    interrupted: bool = False,
) -> SweepResult:
    for each in endings:
        store.add_ending(each)
    planned = trials or [TrialSpec(number=each.number, values=each.values) for each in endings]
    return read_result(store, Objective.parse(objective), planned, len(planned), interrupted=interrupted)


def _levels(result: SweepResult) -> list[object]:
    return [each.values["level"] for each in result.configurations]


def _best(result: SweepResult) -> list[object]:
    return [each.values["level"] for each in result.configurations if each.is_best]


class TestOrder:
    """The best configurations come first."""

    def test_highest_accuracy_comes_first(self, store: SweepStore) -> None:
        ended = [ending(trial(n, level=n), validation_accuracy=a) for n, a in enumerate([0.2, 0.9, 0.5])]
        result = _result(store, ended)
        assert (_levels(result), _best(result)) == ([1, 2, 0], [1])
        assert result.best is result.configurations[0]

    def test_shortest_time_comes_first_and_infinite_time_last(self, store: SweepStore) -> None:
        times = [inf, 3.0, 1.5]
        ended = [ending(trial(n, level=n), validation_time_to_accuracy_s=t) for n, t in enumerate(times)]
        result = _result(store, ended, "time_to_accuracy=0.5")
        assert (_levels(result), _best(result)) == ([2, 1, 0], [2])

    def test_stopped_come_after_finished_and_failed_come_last(self, store: SweepStore) -> None:
        ended = [
            ending(trial(0, level=0), "failed"),
            ending(trial(1, level=1), "stopped", validation_accuracy=0.9),
            ending(trial(2, level=2), validation_accuracy=0.1),
            ending(trial(3, level=3), "stopped", validation_accuracy=0.95),
        ]
        result = _result(store, ended)
        assert (_levels(result), _best(result)) == ([2, 3, 1, 0], [2])
        assert (result.num_trials, result.num_finished, result.num_stopped, result.num_failed) == (4, 1, 2, 1)
        assert result.configurations[-1].objective is None

    def test_first_of_two_equal_configurations_is_best(self, store: SweepStore) -> None:
        result = _result(store, [ending(trial(n, level=n), validation_accuracy=0.5) for n in range(2)])
        assert (_levels(result), _best(result)) == ([0, 1], [0])

    def test_sweep_of_failed_trials_has_no_best(self, store: SweepStore) -> None:
        result = _result(store, [ending(trial(n, level=n), "failed") for n in range(2)])
        assert result.best is None
        assert _best(result) == []

    def test_pareto_front_comes_first(self, store: SweepStore) -> None:
        """2 dominates 0 (more accurate, cheaper); 3 dominates 4 (equally accurate, cheaper)."""
        points = [(0.6, 50.0), (0.9, 100.0), (0.7, 40.0), (0.5, 10.0), (0.5, 20.0)]
        ended = [
            ending(trial(n, level=n), validation_accuracy=a, upload_bytes=b)
            for n, (a, b) in enumerate(points)
        ]
        result = _result(store, ended, "pareto")
        assert _best(result) == [1, 2, 3]
        assert _levels(result) == [1, 2, 3, 0, 4]

    def test_failed_trial_is_not_on_the_front(self, store: SweepStore) -> None:
        ended = [
            ending(trial(0, level=0), "failed"),
            ending(trial(1, level=1), validation_accuracy=0.1, upload_bytes=9.0),
        ]
        assert _best(_result(store, ended, "pareto")) == [1]


class TestMeans:
    """The means over the seeds of a configuration."""

    def test_goals_and_costs_are_means_over_the_seeds(self, store: SweepStore) -> None:
        uploads = {0: 100, 1: 300, 2: 50, 3: 70}
        accuracies = [0.2, 0.4, 0.7, 0.1]
        specs = [trial(n, level=n // 2, seed=n % 2) for n in range(4)]
        for n, accuracy in enumerate(accuracies):
            run = summary(f"r{n}", accuracy=accuracy, upload=uploads[n], emulated_s=float(n))
            put_run(store, f"r{n}", run)
        ended = [ending(s, run_id=f"r{s.number}", validation_accuracy=accuracies[s.number]) for s in specs]
        first, second = _result(store, ended).configurations
        assert (first.label, first.values, first.run_ids) == ("level=1", {"level": 1}, ("r2", "r3"))
        assert first.objective == {"validation_accuracy": pytest.approx(0.4)}
        assert second.objective == {"validation_accuracy": pytest.approx(0.3)}
        assert (first.accuracy, second.accuracy) == (pytest.approx(0.4), pytest.approx(0.3))
        assert (first.upload_bytes, second.upload_bytes) == (60.0, 200.0)
        assert (first.emulated_s, second.emulated_s) == (2.5, 0.5)
        assert second.statuses == ("finished", "finished")

    def test_infinite_seed_makes_the_mean_infinite(self, store: SweepStore) -> None:
        ended = [ending(trial(n, seed=n), validation_time_to_accuracy_s=t) for n, t in enumerate([1.0, inf])]
        (found,) = _result(store, ended, "time_to_accuracy=0.5").configurations
        assert found.objective == {"validation_time_to_accuracy_s": inf}

    def test_configuration_with_a_failed_seed_has_no_mean(self, store: SweepStore) -> None:
        ended = [ending(trial(0, seed=0), validation_accuracy=0.9), ending(trial(1, seed=1), "failed")]
        (found,) = _result(store, ended).configurations
        assert (found.objective, found.accuracy, found.upload_bytes) == (None, None, None)
        assert found.statuses == ("finished", "failed")

    def test_configuration_with_an_unended_seed_has_no_mean(self, store: SweepStore) -> None:
        specs = [trial(n, level=1, seed=n) for n in range(2)]
        result = _result(store, [ending(specs[0], validation_accuracy=0.9)], trials=specs, interrupted=True)
        (found,) = result.configurations
        assert (found.objective, found.statuses, result.interrupted) == (None, ("finished",), True)
        assert (result.num_trials, result.num_finished) == (2, 1)

    def test_run_without_evaluation_has_no_accuracy(self, store: SweepStore) -> None:
        put_run(store, "r0", summary("r0", accuracy=None))
        (found,) = _result(
            store, [ending(trial(0, seed=1), run_id="r0", validation_accuracy=0.0)]
        ).configurations
        assert (found.accuracy, found.upload_bytes) == (None, 10.0)

    def test_configuration_has_the_values_of_the_ending(self, store: SweepStore) -> None:
        spec = trial(0, level=1)
        result = _result(store, [ending(trial(0, level=2), validation_accuracy=0.5)], trials=[spec])
        assert _levels(result) == [2]


class TestOutput:
    """The result as JSON, as data frames and as text."""

    def test_json_has_null_for_infinity(self, store: SweepStore) -> None:
        ended = [ending(trial(n, level=n), validation_time_to_accuracy_s=t) for n, t in enumerate([inf, 2.0])]
        text = _result(store, ended, "time_to_accuracy=0.5").to_json()

        def reject(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        read = json.loads(text, parse_constant=reject)
        assert [each["objective"] for each in read["configurations"]] == [
            {"validation_time_to_accuracy_s": 2.0},
            {"validation_time_to_accuracy_s": None},
        ]
        assert (read["sweep_id"], read["folder"], read["objective"]) == (
            "sw-1",
            str(store.folder),
            "validation_time_to_accuracy=0.5",
        )

    def test_json_keeps_the_result_itself(self, store: SweepStore) -> None:
        result = _result(
            store, [ending(trial(0, level=1), validation_time_to_accuracy_s=inf)], "time_to_accuracy=0.5"
        )
        result.to_json()
        assert result.configurations[0].objective == {"validation_time_to_accuracy_s": inf}

    def test_result_on_test_data_has_a_note(self, store: SweepStore) -> None:
        result = _result(store, [ending(trial(0, level=1), test_accuracy=0.5)], "test_accuracy")
        assert result.notes == (Objective.parse("test_accuracy").note,)
        assert json.loads(result.to_json())["notes"] == list(result.notes)

    def test_result_on_validation_data_has_no_note(self, store: SweepStore) -> None:
        assert _result(store, [ending(trial(0, level=1), validation_accuracy=0.5)]).notes == ()

    def test_data_frames_have_the_trials_and_their_rounds(self, store: SweepStore) -> None:
        specs = [trial(0, level=1), trial(1, level=2), trial(2, level=3)]
        store.add_trials(specs)
        for number, accuracies in enumerate([(0.25, 0.5), (0.75,)]):
            folder = store.folder / f"{store.sweep_id}-{number:03d}"
            write_run(folder, rounds=records(*accuracies), interrupted=None)
            (folder / "summary.json").write_text(summary(folder.name).to_json())
        first = ending(trial(0, level=9), run_id=f"{store.sweep_id}-000", validation_accuracy=0.4)
        result = _result(store, [first], trials=specs, interrupted=True)
        trials = result.to_dataframe()
        assert trials.index.tolist() == [0, 1, 2]
        assert trials["status"].tolist() == ["finished", "unfinished", "unfinished"]
        assert trials["level"].tolist() == [9, 2, 3], "a population may have changed the values"
        assert trials["validation_accuracy"].isna().tolist() == [False, True, True]
        assert trials["num_rounds"].tolist()[:2] == [2, 1]
        rounds = result.to_dataframe("rounds")
        assert rounds["eval/accuracy"].to_dict() == {(0, 0): 0.25, (0, 1): 0.5, (1, 0): 0.75}
        assert [run.run_id[-3:] for run in result.runs] == ["000", "001"]
        lines = {line.get_label(): list(line.get_ydata()) for line in result.plot().lines}
        assert lines == {"level=9": [0.25, 0.5], "level=2": [0.75]}
        with pytest.raises(RequestError) as caught:
            result.to_dataframe("epochs")  # type: ignore[arg-type]
        assert caught.value.value == "epochs"

    def test_texts_of_a_result_are_escaped_and_short(self, store: SweepStore) -> None:
        ended = [ending(trial(n, level=f"<{n}>"), validation_accuracy=0.1) for n in range(12)]
        result = _result(store, ended)
        assert "12 of 12 trials finished" in repr(result)
        assert "and 2 configurations more" in repr(result)
        assert "<0>" not in result._repr_html_()
        assert "level=&lt;0&gt;" in result._repr_html_()

    def test_sweep_without_trials_has_empty_frames(self, store: SweepStore) -> None:
        result = _result(store, [])
        assert (len(result.to_dataframe()), len(result.to_dataframe("rounds"))) == (0, 0)


def test_loaded_result_equals_the_result(store: SweepStore) -> None:
    specs = [trial(n, level=n) for n in range(2)]
    store.describe({"request": request(objective="test_accuracy").model_dump(mode="json"), "base": {}})
    store.add_trials(specs)
    ended = [ending(each, test_accuracy=0.5 + each.number) for each in specs]
    partial = _result(store, ended[:1], "test_accuracy", trials=specs, interrupted=True)
    assert load_result(store.folder) == partial
    complete = _result(store, ended[1:], "test_accuracy", trials=specs)
    assert load_result(store.folder) == complete
