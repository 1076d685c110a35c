"""Output on terminals that lack characters, in a process of its own with the terminal's encoding."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Command

_PRINT = """
import sys
from orchestrator.display.streams import replace_unknown_characters
replace_unknown_characters()
for stream in (sys.stdout, sys.stderr):
    print("90 % ± 1 ≤ ü ⠋ ━ \\udcff", file=stream)
"""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"90 % +- 1 <= \xfc ? - \udcff"),
        ("latin-1", "90 % ± 1 <= ü ? - \\udcff"),
        ("utf-8", "90 % ± 1 ≤ ü ⠋ ━ \\udcff"),
    ],
)
def test_unknown_characters_are_replaced(encoding: str, shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PRINT],
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert done.stdout.decode(encoding).splitlines() == [shown]
    assert done.stderr.decode(encoding).splitlines() == [shown]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", [("list", "fleets"), ("list", "presets"), ("compare", "--help")])
def test_command_works_on_a_terminal_of_another_encoding(encoding: str, arguments: tuple[str, ...]) -> None:
    assert shown_by(encoding, *arguments)


@pytest.mark.parametrize(("encoding", "interval"), [("ascii", "+-"), ("latin-1", "±")])
def test_comparison_of_seeds_shows_its_intervals(
    encoding: str, interval: str, command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    for seed in (0, 1):
        assert command("run", "-q", *quick, "training.rounds=1", f"seed={seed}").code == 0
    assert interval in shown_by(encoding, "compare", "--storage", storage)


def shown_by(encoding: str, *arguments: object) -> str:
    """The output of a command whose terminal has this encoding. The command must succeed without an error line."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": encoding, "COLUMNS": "200"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(encoding)
