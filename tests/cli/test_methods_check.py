"""`check`: one line for each check, and the exit code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.contract import CHECKS
from tests.support.command import Command

BROKEN = Path(__file__).parents[1] / "support" / "broken_methods.py"
FAILING = '''
from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState


class Client(Algorithm[ServerState, None]):
    """Raises during training."""

    def after_train(self, run):
        raise ArithmeticError("two\\nlines")


class Server(Algorithm[ServerState, None]):
    """Raises in the server step."""

    def server_update(self, state, aggregate, round_idx):
        raise KeyError("mine")


class Rejecting(Algorithm[ServerState, None]):
    """Rejects its options in the server step."""

    def server_update(self, state, aggregate, round_idx):
        raise ConfigError("algorithm.patience", 0, "it is used up", "be patient")
'''


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A file with methods whose hooks raise."""
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    return file


@pytest.mark.parametrize("arguments", ["fedavg", "feddst sparsity.level=0.9 wire.value_dtype=float16"])
def test_check_accepts_a_correct_method(arguments: str, command: Command) -> None:
    result = command("check", *arguments.split(), "training.rounds=2")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [f"ok      {check}" for check in CHECKS]


@pytest.mark.parametrize(
    ("method", "violations"),
    [
        (
            f"{BROKEN}:SendsTooMuch",
            {"payloads are within their density": ("30420", "17055")},
        ),
        (
            "tests.support.broken_methods:ScoringChangesTheProcess",
            {"scoring changes nothing": ("`personal`", "run.values")},
        ),
    ],
)
def test_check_prints_a_violation_in_the_line_of_its_check(
    method: str, violations: dict[str, str], command: Command
) -> None:
    """The first method sends nine tenths of 33,800 weights; its density allows half of all 34,110 entries."""
    result = command("check", method, "training.rounds=1")
    assert (result.code, result.err) == (1, "")
    for check, line in zip(CHECKS, result.out.splitlines(), strict=True):
        if check in violations:
            assert line.startswith(f"broken  {check}: ")
            assert all(token in line for token in violations[check]), line
        else:
            assert line == f"ok      {check}"


@pytest.mark.parametrize(
    ("method", "cause"),
    [("Client", r"client \d, round 0, train: ArithmeticError: two lines"), ("Server", "KeyError: 'mine'")],
)
def test_check_prints_the_error_of_a_hook_in_one_line(
    method: str, cause: str, failing: Path, command: Command
) -> None:
    result = command("check", f"{failing}:{method}")
    assert (result.code, result.err) == (1, "")
    for check, line in zip(CHECKS, result.out.splitlines(), strict=True):
        assert re.fullmatch(f"broken  {check}: {cause}", line), line


@pytest.mark.parametrize("method", ["Client", "Server"])
def test_verbose_prints_the_traceback_of_a_hook(method: str, failing: Path, command: Command) -> None:
    result = command("check", "-v", f"{failing}:{method}")
    assert result.code == 1
    assert result.err.startswith("Traceback (most recent call last):")
    assert result.err.count(f'File "{failing}", line ') == len(CHECKS)


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        ("fedavgg", "algorithm.name=fedavgg"),
        ("{failing}:Clientt", "algorithm.name={failing}:Clientt"),
        ("{failing}:Rejecting", "algorithm.patience=0"),
        ("fedavg training.round=3", "training.round=3"),
        ("fedavg training.rounds", "KEY=VALUE=training.rounds"),
        ("fedavg sparsity.level=0.5", "sparsity.level=0.5"),
    ],
)
def test_check_rejects_an_invalid_request_in_one_line(
    arguments: str, field_and_value: str, failing: Path, command: Command
) -> None:
    result = command("check", *arguments.replace("{failing}", str(failing)).split())
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value.replace('{failing}', str(failing))}: ")


def test_checks_work_when_python_removes_assert_statements() -> None:
    method = f"{BROKEN}:StepsOutOfTheMask"
    result = subprocess.run(
        [sys.executable, "-O", "-m", "orchestrator.cli", "check", method, "training.rounds=1"],
        cwd=BROKEN.parents[2],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (result.returncode, result.stderr) == (1, "")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("broken  masked weights ")]
    assert "step 1 " in line
