"""Groups of runs that differ only in their seed."""

from pathlib import Path

from orchestrator.analysis.configurations import group_runs
from tests.support.run_folders import records, selected, write_run


def test_seed_runtime_and_tracking_do_not_distinguish_configurations(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "runtime.pool_size=3", seed=2)
    write_run(tmp_path / "b", "tracking.experiment=other", seed=1)
    write_run(tmp_path / "c", "training.lr=0.5", seed=1)
    first, second = group_runs(selected(tmp_path))[0]
    assert (first.label, [run.run_id for run in first.runs.values()]) == ("fedavg lr=0.05", ["b", "a"])
    assert list(first.runs) == [1, 2]
    assert (second.label, second.key_values) == ("fedavg lr=0.5", {"training.lr": 0.5})


def test_newest_of_several_runs_with_one_seed_counts(tmp_path: Path) -> None:
    for run_id, start_ms in (("a", 3000), ("b", 9000), ("c", 1000)):
        write_run(tmp_path / run_id, rounds=records(0.5, timestamp_ms=start_ms))
    write_run(tmp_path / "d", seed=1, rounds=records(0.5, timestamp_ms=10))
    (only,), notes = group_runs(selected(tmp_path))
    assert {seed: run.run_id for seed, run in only.runs.items()} == {0: "b", 1: "d"}
    assert [note.split(":")[0] for note in notes] == ["a is left out", "c is left out"]
    assert all(" b has the same configuration" in note for note in notes)


def test_label_of_a_single_configuration_is_its_method(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "training.lr=0.7", method="feddst")
    (only,), notes = group_runs(selected(tmp_path))
    assert (only.label, only.method, only.key_values, notes) == ("feddst", "feddst", {}, [])
