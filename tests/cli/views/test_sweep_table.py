"""The table of a sweep's configurations."""

from collections.abc import Sequence
from dataclasses import replace
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


def _shown(result: SweepResult, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(sweep_table(result))
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
            *("level", "validation", "accuracy", "test", "accuracy"),
            *("upload", "emulated", "trials"),
        ]
        assert first.split() == ["best", "1", "75.00%", "50.00%", "2.5", "MB", "1:15", "1", "finished"]
        assert second.split() == ["2", "-", "-", "-", "-", "1", "failed"]

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

    def test_long_table_shows_all_configurations(self, store: SweepStore) -> None:
        ended = [ending(trial(n, level=n), validation_accuracy=n / 100) for n in range(30)]
        _, *rows = _shown(_result(store, ended)).splitlines()
        levels = [row.removeprefix("best").split()[0] for row in rows]
        assert levels == [str(n) for n in range(29, -1, -1)]

    def test_each_dimension_is_a_column_with_a_short_name(self, store: SweepStore) -> None:
        values = {"algorithm__name": "feddst", "sparsity__level": 0.8, "training__lr": 0.05}
        ended = [
            ending(trial(0, **values), validation_accuracy=0.75),
            ending(trial(1, algorithm__name="fedavg", training__lr=0.1), validation_accuracy=0.5),
        ]
        heading, first, second = _shown(_result(store, ended)).splitlines()
        assert heading.split()[:3] == ["name", "level", "lr"]
        assert first.split()[:5] == ["best", "feddst", "0.8", "0.05", "75.00%"]
        assert second.split()[:4] == ["fedavg", "-", "0.1", "50.00%"]

    def test_personal_accuracy_is_shown_if_a_configuration_has_it(self, store: SweepStore) -> None:
        """The mean over the two seeds: (0.75 + 0.25) / 2."""
        for seed, personal in ((0, 0.75), (1, 0.25)):
            put_run(store, f"r{seed}", replace(summary(f"r{seed}"), personal_accuracy=personal))
        ended = [ending(trial(n, level=1, seed=n), run_id=f"r{n}", validation_accuracy=0.5) for n in range(2)]
        shown = _shown(_result(store, ended))
        assert "personal" in shown.splitlines()[0]
        assert shown.splitlines()[-1].split()[2:5] == ["50.00%", "50.00%", "50.00%"]

    def test_each_data_set_has_a_table_with_its_own_best(self, store: SweepStore) -> None:
        ended = [
            ending(trial(n, data__name=data, level=level), validation_accuracy=accuracy)
            for n, (data, level, accuracy) in enumerate(
                [("digits", 1, 0.9), ("digits", 2, 0.8), ("cifar10", 1, 0.3), ("cifar10", 2, 0.4)]
            )
        ]
        lines = [line.split() for line in _shown(_result(store, ended)).splitlines()]
        assert [line[:3] for line in lines if "%" in "".join(line)] == [
            ["best", "1", "90.00%"],
            ["2", "80.00%", "-"],
            ["best", "2", "40.00%"],
            ["1", "30.00%", "-"],
        ]
        assert [line for line in lines if line[0].startswith("data.name=")] == [
            ["data.name=digits"],
            ["data.name=cifar10"],
        ]

    def test_table_shows_trials_that_have_not_ended(self, store: SweepStore) -> None:
        shown = _shown(_result(store, [], trials=[trial(0, level=1)]))
        assert "not ended" in shown
