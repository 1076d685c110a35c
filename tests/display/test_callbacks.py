"""The display that calls the user's callbacks. tests/test_api.py tests them in runs."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console

from orchestrator.display.callbacks import CallbackDisplay
from orchestrator.display.run_progress import Progress
from orchestrator.results.run_result import RunResult
from orchestrator.tracking.record import RoundRecord
from tests.support.sweeps import summary


class _Names:
    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    def on_round(self, round_idx: int, metrics: Mapping[str, float]) -> None:
        self._log.append(f"{self._name}{round_idx}:{metrics['m']:g}")

    def on_end(self, result: RunResult) -> None:
        self._log.append(f"{self._name}:{result.run_id}")


def test_callbacks_are_called_in_order_and_the_display_shows_the_run() -> None:
    file, log = StringIO(), list[str]()
    inner = Progress(console=Console(file=file))
    display = CallbackDisplay(inner, [_Names(log, "a"), _Names(log, "b")])
    display.start("r", 2, 0)
    display.note("a note")
    display.update(RoundRecord(1, 0, {"m": 0.5}))
    display.stop()
    result = RunResult.from_summary(summary("r"), Path("r"))
    assert display.end(result) is result
    assert log == ["a1:0.5", "b1:0.5", "a:r", "b:r"]
    assert "a note" in file.getvalue()
    assert "round 2/2" in file.getvalue()
