"""A disk that is full: one line that says what to do, nothing harmed that was there, and a resumption ends the same."""

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import QUICK, Command

#: leaves no byte of the disk free while the file `full` lies beside it, from the step of round 2 on
FILLING = '''
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Filling(Algorithm[ServerState, None]):
    """FedAvg on a disk that others use too."""

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


def _sha256(folder: Path) -> str:
    return str(json.loads((folder / "summary.json").read_text())["params_sha256"])


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _run_in(storage: Path) -> Path:
    (run,) = (path for path in storage.iterdir() if (path / "run.json").is_file())
    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def longest_file(num_bytes: int) -> Iterator[None]:
    """Within, no file of this process may become longer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_at_a_commit(command: Command, disk: Path, tmp_path: Path) -> None:
    method = tmp_path / "filling.py"
    method.write_text(FILLING)
    words = (*QUICK, f"algorithm.name={method}:Filling", "training.rounds=5")
    assert command("run", "-q", *words, f"runtime.storage={tmp_path / 'undisturbed'}").code == 0
    (tmp_path / "full").write_text(str(disk / "ballast"))
    ended = command("run", "-q", *words, f"runtime.storage={disk / 'runs'}")
    run = _run_in(disk / "runs")
    (line,) = ended.err.splitlines()
    assert (ended.code, ended.out) == (1, "")
    assert line.startswith(f"error: round 2 could not be committed: {run}/")
    assert "(No space left on device)" in line
    assert f"`sparsefleet resume {run}`" in line
    assert not list(run.rglob("*.tmp"))
    assert not (run / "commits" / "round-000002.json").exists()
    commits = _files(run / "commits")
    refused = command("resume", "-q", run)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert "(No space left on device)" in refused.err
    (disk / "ballast").unlink()
    (tmp_path / "full").unlink()
    assert {path: path.read_bytes() for path in commits} == commits
    resumed = command("resume", "-q", run)
    assert (resumed.code, resumed.err) == (0, "")
    assert _sha256(run) == _sha256(_run_in(tmp_path / "undisturbed"))
    rounds = [json.loads(line)["round_idx"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rounds == [0, 1, 2, 3, 4]


def test_a_disk_that_is_read_only(command: Command, disk: Path) -> None:
    assert command("run", "-q", *QUICK, f"runtime.storage={disk / 'runs'}").code == 0
    run = _run_in(disk / "runs")
    before = _files(run)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = command("resume", "-q", run, "training.rounds=3")
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "(Read-only file system)" in line
    assert _files(run) == before


def test_a_state_that_may_not_be_written(
    command: Command, quick: tuple[str, ...], finished: Path, storage: Path
) -> None:
    """As with a full disk, on every machine: a limit on the length of files is met in the middle of a write."""
    state = finished / "commits" / "server-000002.safetensors"
    before = _files(finished / "commits")
    with longest_file(state.stat().st_size - 1):
        ended = command("resume", "-q", finished, "training.rounds=5")
    (line,) = ended.err.splitlines()
    path = finished / "commits" / "server-000003.safetensors"
    assert ended.code == 1
    assert line.startswith(
        f"error: round 3 could not be committed: {path} could not be written (File too large)"
    )
    assert _files(finished / "commits") == before
    resumed = command("resume", "-q", finished)
    assert (resumed.code, resumed.err) == (0, "")
    undisturbed = storage / "undisturbed"
    assert command("run", "-q", *quick, "training.rounds=5", f"runtime.storage={undisturbed}").code == 0
    assert _sha256(finished) == _sha256(_run_in(undisturbed))


@pytest.mark.parametrize(
    ("limit", "file"),
    [(100, "config.yaml"), (1_200, "config.yaml"), (8_000, "model/model.safetensors")],
)
def test_any_other_file_that_may_not_be_written(
    limit: int, file: str, command: Command, finished: Path
) -> None:
    before = _files(finished)
    with longest_file(limit):
        ended = command("resume", "-q", finished)
    (line,) = ended.err.splitlines()
    assert ended.code == 1
    assert f"{finished / file} " in line
    assert "(File too large)" in line
    assert _files(finished).keys() - before.keys() <= {finished / "failure.txt"}
    assert before.keys() <= _files(finished).keys()
    assert (finished / file).read_bytes() == before[finished / file]
    assert command("resume", "-q", finished).code == 0


def test_a_run_that_cannot_begin(command: Command, quick: tuple[str, ...], storage: Path) -> None:
    with longest_file(100):
        ended = command("run", "-q", *quick)
    (line,) = ended.err.splitlines()
    assert ended.code == 1
    assert "partition.parquet could not be written (File too large)" in line
    assert "sparsefleet resume" not in line
