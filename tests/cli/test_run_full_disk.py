"""`run` and `resume` on a full disk: one error line, no damaged file, and the same result after a resume."""

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import QUICK, Command
from tests.support.small_disk import FILLING, small_disk


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
    with small_disk(tmp_path / "disk") as place:
        yield place


@contextmanager
def longest_file(num_bytes: int) -> Iterator[None]:
    """In this context, no file of this process can become longer than `num_bytes`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_fails_the_commit_and_keeps_earlier_rounds(
    command: Command, disk: Path, tmp_path: Path
) -> None:
    method = tmp_path / "filling.py"
    method.write_text(FILLING)
    arguments = (*QUICK, f"algorithm.name={method}:Filling", "training.rounds=5")
    assert command("run", "-q", *arguments, f"runtime.storage={tmp_path / 'undisturbed'}").code == 0
    (tmp_path / "full").write_text(str(disk / "ballast"))
    result = command("run", "-q", *arguments, f"runtime.storage={disk / 'runs'}")
    run = _run_in(disk / "runs")
    assert (result.code, result.out) == (1, "")
    assert "round 2" in result.error_line
    assert f"{run}/" in result.error_line
    assert "(No space left on device)" in result.error_line
    assert f"sparsefleet resume {run}`" in result.error_line
    assert not list(run.rglob("*.tmp"))
    assert [json.loads(line)["round_idx"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [
        0,
        1,
    ]
    assert not (run / "commits" / "round-000002.json").exists()
    commits = _files(run / "commits")
    failed = command("resume", "-q", run)
    assert failed.code == 1
    assert "(No space left on device)" in failed.error_line
    (disk / "ballast").unlink()
    (tmp_path / "full").unlink()
    assert {path: path.read_bytes() for path in commits} == commits
    resumed = command("resume", "-q", run)
    assert (resumed.code, resumed.err) == (0, "")
    assert _sha256(run) == _sha256(_run_in(tmp_path / "undisturbed"))
    rounds = [json.loads(line)["round_idx"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rounds == [0, 1, 2, 3, 4]


def test_read_only_disk_leaves_the_run_unchanged(command: Command, disk: Path) -> None:
    assert command("run", "-q", *QUICK, f"runtime.storage={disk / 'runs'}").code == 0
    run = _run_in(disk / "runs")
    before = _files(run)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    result = command("resume", "-q", run, "training.rounds=3")
    assert result.code == 1
    assert "(Read-only file system)" in result.error_line
    assert _files(run) == before


def test_state_file_that_cannot_be_written_leaves_the_checkpoints_unchanged(
    command: Command, quick: tuple[str, ...], finished: Path, storage: Path
) -> None:
    """A limit on the length of files works on every machine, and stops a write in the middle like a full disk."""
    state = finished / "commits" / "server-000002.safetensors"
    before = _files(finished / "commits")
    with longest_file(state.stat().st_size - 1):
        result = command("resume", "-q", finished, "training.rounds=5")
    path = finished / "commits" / "server-000003.safetensors"
    assert result.code == 1
    assert result.error_line.count("round 3") == 1
    assert str(path) in result.error_line
    assert len((finished / "metrics.jsonl").read_text().splitlines()) == 3
    assert "(File too large)" in result.error_line
    assert _files(finished / "commits") == before
    resumed = command("resume", "-q", finished)
    assert (resumed.code, resumed.err) == (0, "")
    undisturbed = storage / "undisturbed"
    assert command("run", "-q", *quick, "training.rounds=5", f"runtime.storage={undisturbed}").code == 0
    assert _sha256(finished) == _sha256(_run_in(undisturbed))


@pytest.mark.parametrize(
    ("limit", "file"),
    [(100, "run.json"), (1_200, "run.json"), (8_000, "model/model.safetensors")],
)
def test_result_file_that_cannot_be_written_is_named(
    limit: int, file: str, command: Command, finished: Path
) -> None:
    before = _files(finished)
    with longest_file(limit):
        result = command("resume", "-q", finished)
    assert result.code == 1
    assert str(finished / file) in result.error_line
    assert "(File too large)" in result.error_line
    assert _files(finished).keys() - before.keys() <= {finished / "failure.txt"}
    assert before.keys() <= _files(finished).keys()
    assert (finished / file).read_bytes() == before[finished / file]
    assert command("resume", "-q", finished).code == 0


def test_run_that_cannot_write_its_first_file_fails(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    with longest_file(100):
        result = command("run", "-q", *quick)
    assert result.code == 1
    assert "partition.parquet" in result.error_line
    assert "(File too large)" in result.error_line
