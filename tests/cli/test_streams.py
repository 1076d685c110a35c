"""Output on terminals that lack characters, in a process of its own with the terminal's encoding."""

import subprocess
import sys

import pytest

_PRINT = """
import sys
from orchestrator.cli.streams import replace_unknown_characters
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
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": encoding, "COLUMNS": "200"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)
