"""Durable writes: whole or not at all, and a refusal of the file system is one line that says what to do."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.storage.atomic_write import storing, write_durably


def test_a_write_replaces_the_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_durably(file, b"first, and longer")
    (tmp_path / "file.tmp").write_bytes(b"left over from a kill")
    write_durably(file, b"second")
    assert file.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may become longer than 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN, "Python takes the error instead of the signal"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("size", [1001, 100_000])
def test_a_write_that_is_refused_leaves_the_file_as_it_was(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    write_durably(file, b"first")
    with pytest.raises(CheckpointError) as caught:
        write_durably(file, bytes(size))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file} could not be written (File too large); free space")
    assert file.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_whatever_the_file_system_refuses_is_one_line_with_the_remedy(tmp_path: Path, code: int) -> None:
    (tmp_path / "run.json").write_text("{}")
    path = tmp_path / "commits" / "round-000003.json"
    with pytest.raises(CheckpointError) as caught, storing(path):
        raise OSError(code, os.strerror(code))
    (line,) = str(caught.value).splitlines()
    assert line == (
        f"{path} could not be written ({os.strerror(code)}); all earlier rounds are safe: free space, or make that "
        f"place writable, then `sparsefleet resume {tmp_path}` goes on after the last commit"
    )


def test_beside_a_run_nothing_is_said_of_resuming(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="then give the command again") as caught:
        write_durably(tmp_path / "missing" / "file", b"")
    assert "No such file or directory" in str(caught.value)


def test_a_disk_that_does_not_even_say_whose_file_it_is_changes_nothing_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path, found = tmp_path / "metrics.jsonl", None
    with monkeypatch.context() as failing:
        failing.setattr(os, "stat", fail)
        try:
            with storing(path):
                fail()
        except CheckpointError as error:
            found = str(error)
    assert found == (
        f"{path} could not be written (Input/output error); free space, or make that place writable, "
        "then give the command again"
    )
