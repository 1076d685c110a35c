"""Checks that a wheel holds every tracked file of the three packages and nothing else: `wheel_contents.py WHEEL`."""

import subprocess
import sys
from zipfile import ZipFile

PACKAGES = ("orchestrator", "algorithms", "search_spaces")


def differences(wheel: str) -> list[str]:
    """One line for each missing or unexpected file."""
    tracked = set(subprocess.check_output(["git", "ls-files", *PACKAGES], text=True).split())
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing = [f"not in the wheel: {name}" for name in sorted(tracked - packed)]
    return missing + [f"in the wheel, but not tracked: {name}" for name in sorted(packed - tracked)]


if __name__ == "__main__":
    sys.exit("\n".join(differences(sys.argv[1])) or None)
