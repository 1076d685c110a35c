"""`events.parquet`, which is there however a run has ended."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.support.command import Command

#: comes to an end in the round and in the way that the file `end` beside it says
ENDING = '''
import signal
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Ending(Algorithm[ServerState, None]):
    """FedAvg that comes to an end."""

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
def test_however_a_run_ends_its_events_are_a_table(
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


def test_a_table_that_cannot_be_written_costs_nothing_but_itself(command: Command, finished: Path) -> None:
    """A folder is in its place; the error names the remedy, which works."""
    (finished / "events.parquet").unlink()
    (finished / "events.parquet").mkdir()
    (finished / "summary.json").unlink()
    ended = command("resume", "-q", finished, "training.rounds=4")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {finished / 'events.parquet'} could not be written (")
    assert f"`sparsefleet resume {finished}`" in line
    assert line.endswith(f"(the run itself is complete: {finished})")
    assert json.loads((finished / "summary.json").read_text())["num_rounds"] == 4
    assert len(log_of(finished)) == 4 * 2

    (finished / "events.parquet").rmdir()
    ended = command("resume", "-q", finished)
    assert (ended.code, ended.err) == (0, "")
    assert rows_of(finished) == log_of(finished)


def test_a_run_that_fails_says_why_before_it_says_that_there_is_no_table(
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
    ended = command("resume", folder)
    assert ended.code == 1
    *notes, last = ended.err.splitlines()
    assert last.startswith("error: unexpected OSError: no space left")
    assert any("events.parquet could not be written" in note for note in notes)
