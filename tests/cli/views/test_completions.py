"""The words that a shell proposes, asked in a process of their own as bash does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.views.completions import config_keys, list_names, run_names
from tests.support.run_folders import write_run


def _proposed(folder: Path, *words: str) -> list[str]:
    """What the completion of bash proposes for the last word."""
    environment = {
        **os.environ,
        "_SPARSEFLEET_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from orchestrator.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sparsefleet", "comp"), ["compare"]),
        (("sparsefleet", "compare", "--basel"), ["--baseline"]),
        (("sparsefleet", "list", "fl"), ["fleets"]),
        (("sparsefleet", "run", "training.round"), ["training.rounds="]),
    ],
)
def test_shell_completes_commands_options_lists_and_keys(
    words: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    assert _proposed(tmp_path, *words) == expected


def test_runs_are_completed_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("feddst-b", "feddst-a", "fedavg-a")):
        folder = write_run(tmp_path / "runs" / name)
        os.utime(folder, (100 - age, 100 - age))
    (tmp_path / "runs" / "feddst-notes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_names("feddst") == ["feddst-b", "feddst-a"]
    assert _proposed(tmp_path, "sparsefleet", "resume", "fedavg") == ["fedavg-a"]


def test_unknown_words_and_missing_folders_give_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_names("") == list_names("x") == config_keys("nothing.") == []
