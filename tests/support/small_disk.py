"""A small file system, and a method that fills it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: fills the disk in the server step of round 2 while its folder contains the file `full`, which names the ballast file
FILLING = '''
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Filling(Algorithm[ServerState, None]):
    """FedAvg that fills the disk."""

    def server_update(self, state, aggregate, round_idx):
        flag = Path(__file__).with_name("full")
        if round_idx == 2 and flag.exists():
            with Path(flag.read_text()).open("wb", buffering=0) as ballast:
                for size in (2**12, 1):
                    try:
                        while True:
                            ballast.write(bytes(size))
                    except OSError:
                        pass
        return super().server_update(state, aggregate, round_idx)
'''


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 3 MiB at `place`, and yield `place`. Skips the test if this user may not mount."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
