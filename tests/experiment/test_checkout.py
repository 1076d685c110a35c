"""The commits of the code that a run executes."""

import subprocess
from pathlib import Path

from orchestrator.experiment.checkout import commit_of_folder, commit_of_package


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_commit_of_a_folder_is_that_of_its_checkout(tmp_path: Path) -> None:
    assert commit_of_folder(tmp_path) is None
    _git(tmp_path, "init")
    assert commit_of_folder(tmp_path) is None
    (tmp_path / "inner").mkdir()
    _git(tmp_path, "commit", "--allow-empty", "-m", "first")
    assert commit_of_folder(tmp_path / "inner") == _git(tmp_path, "rev-parse", "HEAD")


def test_commit_of_the_package_is_that_of_this_checkout() -> None:
    root = Path(__file__).parents[2]
    assert commit_of_package() == commit_of_folder(root)
