"""The commits of the code that a run executes."""

import subprocess
from pathlib import Path


def commit_of_folder(folder: Path) -> str | None:
    """Return the commit of the git checkout that a folder is in; None if there is no checkout."""
    try:
        return _git(folder, "rev-parse", "HEAD").strip()
    except (OSError, subprocess.SubprocessError):
        return None


def commit_of_package() -> str | None:
    """Return the commit of the checkout from which Sparsefleet is imported; None for an installed package.

    An environment with the installed package may lie in a checkout of another project, which does not track its files.
    """
    file = Path(__file__).resolve()
    try:
        _git(file.parent, "ls-files", "--error-unmatch", "--", file.name)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit_of_folder(file.parent)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout
