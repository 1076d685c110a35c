"""The notes of a comparison."""

import math
from pathlib import Path

from orchestrator.analysis import CompareOptions, compare
from tests.support.run_folders import (
    record,
    records,
    selected,
    write_run,
)


def test_notes_name_unfinished_runs_and_missing_values(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.2, 0.3), interrupted=True)
    write_run(tmp_path / "b", seed=1, rounds=records(0.2, None, 0.4), interrupted=None)
    write_run(tmp_path / "c", method="feddst", rounds=records(0.2, math.nan))
    write_run(tmp_path / "d", method="local", rounds=[record(0, None, personal=0.5)])
    found = compare(selected(tmp_path), CompareOptions(), ["given note"])
    rounds = selected(tmp_path)[0].config["training.rounds"]
    given, unfinished, not_finite, not_logged, not_on_front, no_curve = found.notes
    assert given == "given note"
    assert unfinished.endswith(
        f": a (stopped after 2 of {rounds} rounds), b (unfinished after 3 of {rounds} rounds)"
    )
    assert not_finite.startswith("c ")
    assert "not finite" in not_finite
    assert not_logged.startswith("d ")
    assert "never logged" in not_logged
    assert "Pareto front" in not_on_front
    assert not_on_front.endswith(": feddst, local")
    assert "without a curve" in no_curve
    assert no_curve.endswith(": local")
    assert [row.configuration.label for row in found.rows] == ["fedavg", "feddst", "local"]
    assert [row.on_front for row in found.rows] == [True, False, False]


def test_notes_name_duplicates_and_missing_pairs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.5, timestamp_ms=1))
    write_run(tmp_path / "b", rounds=records(0.5, timestamp_ms=2))
    write_run(tmp_path / "c", method="feddst", seed=1)
    notes = compare(selected(tmp_path), CompareOptions(baseline="feddst")).notes
    assert [note.split()[0] for note in notes] == ["a", "fedavg"]
    assert "left out" in notes[0]
    assert "shares no seed" in notes[1]
