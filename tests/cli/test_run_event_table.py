"""`events.parquet`: every run has the table, however the run ended."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.support.command import Command

#: ends the run in the round and in the way that the file `end` in its folder says
ENDING = '''
import signal
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Ending(Algorithm[ServerState, None]):
    """FedAvg that ends its run."""

    def server_update(self, state, aggregate, round_idx):
        when, how = Path(__file__).with_name("end").read_text().split(":")
        if round_idx == int(when):
            if how == "failed":
                raise OSError("no space left")
            for _ in range({"finished": 0, "stopped": 1, "stopped at once": 2}[how]):
                signal.raise_signal(signal.SIGINT)
        return super().server_update(state, aggregate, round_idx)
'''


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / "events.parquet").to_pylist()
    return rows


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("how", "code", "num_rounds"),
    [("finished", 0, 4), ("stopped", 130, 3), ("stopped at once", 130, 2), ("failed", 1, 2)],
)
def test_every_ending_writes_the_table_of_events(
    how: str,
    code: int,
    num_rounds: int,
    command: Command,
    quick: tuple[str, ...],
    storage: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "ending.py").write_text(ENDING)
    (tmp_path / "end").write_text(f"2:{how}")
    method = f"algorithm.name={tmp_path / 'ending.py'}:Ending"
    assert command("run", "-q", *quick, method, "training.rounds=4").code == code
    (folder,) = storage.glob("ending-*")
    rows = rows_of(folder)
    assert rows == log_of(folder)
    assert [row["round_idx"] for row in rows] == [r for r in range(num_rounds) for _ in range(2)]

    (tmp_path / "end").write_text("2:finished")
    assert command("resume", "-q", folder).code == 0
    assert len(rows_of(folder)) == 4 * 2


def test_run_is_complete_when_its_table_cannot_be_written(command: Command, finished: Path) -> None:
    """A folder has the name of the table. The error names a remedy, and the remedy works."""
    (finished / "events.parquet").unlink()
    (finished / "events.parquet").mkdir()
    (finished / "summary.json").unlink()
    result = command("resume", "-q", finished, "training.rounds=4")
    assert (result.code, result.out) == (1, "")
    assert result.error_line.startswith(f"error: {finished / 'events.parquet'} ")
    assert f"sparsefleet resume {finished}`" in result.error_line
    assert json.loads((finished / "summary.json").read_text())["num_rounds"] == 4
    assert len(log_of(finished)) == 4 * 2

    (finished / "events.parquet").rmdir()
    result = command("resume", "-q", finished)
    assert (result.code, result.err) == (0, "")
    assert rows_of(finished) == log_of(finished)


def test_failing_run_reports_its_cause_and_the_missing_table(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    (tmp_path / "ending.py").write_text(ENDING)
    (tmp_path / "end").write_text("2:stopped")
    method = f"algorithm.name={tmp_path / 'ending.py'}:Ending"
    assert command("run", "-q", *quick, method, "training.rounds=5").code == 130
    (folder,) = storage.glob("ending-*")
    (folder / "events.parquet").unlink()
    (folder / "events.parquet").mkdir()
    (tmp_path / "end").write_text("3:failed")
    result = command("resume", folder)
    assert result.code == 1
    *notes, last = result.err.splitlines()
    assert last.startswith("error: ")
    assert "no space left" in last
    assert any("events.parquet" in note for note in notes)
