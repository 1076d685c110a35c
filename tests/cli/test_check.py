"""`check`: a line for every promise of a method, and the exit code that a script can go by."""

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
    """Stumbles while training."""

    def after_train(self, run):
        raise ArithmeticError("two\\nlines")


class Server(Algorithm[ServerState, None]):
    """Stumbles over what comes back."""

    def server_update(self, state, aggregate, round_idx):
        raise KeyError("mine")


class Refusing(Algorithm[ServerState, None]):
    """Finds out late that it was asked for something impossible."""

    def server_update(self, state, aggregate, round_idx):
        raise ConfigError("algorithm.patience", 0, "it is used up", "be patient")
'''


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A file of methods whose hooks raise."""
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    return file


@pytest.mark.parametrize("words", ["fedavg", "feddst sparsity.level=0.9 wire.value_dtype=float16"])
def test_a_method_that_keeps_its_promises(words: str, command: Command) -> None:
    ended = command("check", *words.split(), "training.rounds=2")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"ok      {promise}" for promise in CHECKS]


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (
            f"{BROKEN}:SendsTooMuch",
            {"payloads are within their density": "round 0: 30420 weights sent, 17055 allowed"},
        ),
        (
            "tests.support.broken_methods:ScoringChangesTheProcess",
            {
                "scoring changes nothing": "scoring a client changes its next update; "
                "restore everything except run.values that `personal` changes"
            },
        ),
    ],
)
def test_a_broken_promise_is_told_in_its_line(method: str, broken: dict[str, str], command: Command) -> None:
    """Of 33,800 weights nine tenths, where half of all 34,110 entries are allowed."""
    ended = command("check", method, "training.rounds=1")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines() == [
        f"broken  {promise}: {broken[promise]}" if promise in broken else f"ok      {promise}"
        for promise in CHECKS
    ]


@pytest.mark.parametrize(
    ("method", "cause"),
    [("Client", r"client \d, round 0, train: ArithmeticError: two lines"), ("Server", "KeyError: 'mine'")],
)
def test_what_a_hook_raises_is_told_in_one_line(
    method: str, cause: str, failing: Path, command: Command
) -> None:
    ended = command("check", f"{failing}:{method}")
    assert (ended.code, ended.err) == (1, "")
    for promise, line in zip(CHECKS, ended.out.splitlines(), strict=True):
        assert re.fullmatch(f"broken  {promise}: {cause}", line), line


@pytest.mark.parametrize("method", ["Client", "Server"])
def test_verbose_shows_where_a_hook_raised(method: str, failing: Path, command: Command) -> None:
    ended = command("check", "-v", f"{failing}:{method}")
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last):")
    assert ended.err.count(f'File "{failing}", line ') == len(CHECKS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fedavgg", ("algorithm.name=fedavgg", "did you mean 'fedavg'?")),
        ("{failing}:Clientt", ("failing.py has no Clientt", "did you mean 'Client'?")),
        ("{failing}:Refusing", ("algorithm.patience=0: it is used up; be patient",)),
        ("fedavg training.round=3", ("training.round=3", "did you mean 'training.rounds'?")),
        ("fedavg training.rounds", ("KEY=VALUE=training.rounds", "not an assignment")),
        ("fedavg sparsity.level=0.5", ("sparsity.level=0.5", "fedavg does not take a sparsity level")),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(
    words: str, says: tuple[str, ...], failing: Path, command: Command
) -> None:
    ended = command("check", *words.replace("{failing}", str(failing)).split())
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert all(said in line for said in says), line


def test_checks_work_without_assert_statements() -> None:
    method = f"{BROKEN}:StepsOutOfTheMask"
    ended = subprocess.run(
        [sys.executable, "-O", "-m", "orchestrator.cli", "check", method, "training.rounds=1"],
        cwd=BROKEN.parents[2],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("broken  masked weights ")]
    assert "step 1 gave " in line
