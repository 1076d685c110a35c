"""A comparison lists its runs in the order of its rows."""

from pathlib import Path

from orchestrator.analysis import CompareOptions, compare
from tests.support.run_folders import records, selected, write_run


def test_runs_follow_the_rows_and_the_seeds(tmp_path: Path) -> None:
    """feddst is better than fedavg, so its row comes first, whatever the names of the folders."""
    for seed in (1, 0):
        write_run(tmp_path / f"a-{seed}", method="fedavg", seed=seed, rounds=records(0.1, 0.4))
        write_run(tmp_path / f"b-{seed}", method="feddst", seed=seed, rounds=records(0.1, 0.6))
    comparison = compare(selected(tmp_path), CompareOptions())
    assert [row.configuration.label for row in comparison.rows] == ["feddst", "fedavg"]
    assert [run.folder.name for run in comparison.runs] == ["b-0", "b-1", "a-0", "a-1"]
