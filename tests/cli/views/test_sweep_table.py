"""The table of a sweep's configurations."""

from collections.abc import Sequence
from io import StringIO
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.views.sweep_table import sweep_table
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.result import SweepResult, read_result
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from tests.support.sweeps import ending, new_store, put_run, summary, trial


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    return new_store(tmp_path)


def _result(
    store: SweepStore,
    endings: Sequence[Ending],
    objective: str = "accuracy",
    trials: Sequence[TrialSpec] | None = None,
) -> SweepResult:
    for each in endings:
        store.add_ending(each)
    planned = trials or [TrialSpec(number=each.number, values=each.values) for each in endings]
    return read_result(store, Objective.parse(objective), planned, len(planned), interrupted=False)


def _shown(result: SweepResult, width: int = 100, max_rows: int = 20) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(sweep_table(result, max_rows))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


class TestTable:
    """The rows and columns."""

    def test_each_failed_trial_is_counted(self, store: SweepStore) -> None:
        result = _result(store, [ending(trial(n, level=n), "failed") for n in range(2)])
        assert "2 failed" not in _shown(result)
        assert _shown(result).count("1 failed") == 2

    def test_result_on_test_data_has_a_single_accuracy(self, store: SweepStore) -> None:
        result = _result(store, [ending(trial(0, level=1), test_accuracy=0.5)], "test_accuracy")
        assert _shown(result).splitlines()[0].split()[1:3] == ["test", "accuracy"]
        assert _shown(result).count("test accuracy") == 1

    def test_table_has_a_row_per_configuration(self, store: SweepStore) -> None:
        put_run(store, "r0", summary("r0", accuracy=0.5, upload=2_500_000, emulated_s=75.0))
        ended = [
            ending(trial(0, level=1), run_id="r0", validation_accuracy=0.75),
            ending(trial(1, level=2), "failed"),
        ]
        heading, first, second = _shown(_result(store, ended)).splitlines()
        assert heading.split() == [
            *("configuration", "validation", "accuracy", "test", "accuracy"),
            *("upload", "emulated", "trials"),
        ]
        assert first.split() == ["best", "level=1", "75.00%", "50.00%", "2.5", "MB", "1:15", "1", "finished"]
        assert second.split() == ["level=2", "-", "-", "-", "-", "1", "failed"]

    def test_table_formats_times_and_infinite_times(self, store: SweepStore) -> None:
        ended = [
            ending(trial(n, level=n), validation_time_to_accuracy_s=t) for n, t in enumerate([inf, 90.0])
        ]
        shown = _shown(_result(store, ended, "time_to_accuracy=0.5"))
        assert "1:30" in shown
        assert "never" in shown
        assert "validation time to accuracy s" in shown
        assert "inf" not in shown

    def test_table_marks_the_whole_front(self, store: SweepStore) -> None:
        points = [(0.5, 1e6), (0.9, 2e6), (0.4, 3e6)]
        ended = [
            ending(trial(n, level=n), validation_accuracy=a, upload_bytes=b)
            for n, (a, b) in enumerate(points)
        ]
        shown = _shown(_result(store, ended, "pareto"))
        assert shown.count("best") == 2
        assert "2 MB" in shown

    def test_long_table_is_cut_with_a_caption(self, store: SweepStore) -> None:
        shown = _shown(
            _result(store, [ending(trial(n, level=n), validation_accuracy=0.1) for n in range(5)]), max_rows=2
        )
        assert "the first 2 of 5" in shown
        assert "level=2" not in shown

    def test_table_shows_trials_that_have_not_ended(self, store: SweepStore) -> None:
        shown = _shown(_result(store, [], trials=[trial(0, level=1)]))
        assert "not ended" in shown
