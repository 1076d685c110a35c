"""Durable writes: atomic, and a failure is one line with the remedy."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.atomic_write import append_durably, explained_write, replace_file, write_durably
from orchestrator.commands import resume_line
from orchestrator.errors import CheckpointError


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_durably(file, b"first, and longer")
    (tmp_path / "file.tmp").write_bytes(b"left over from a kill")
    write_durably(file, b"second")
    assert file.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_append_returns_the_new_length(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert append_durably(file, b"first\n") == 6
    assert append_durably(file, b"") == 6
    assert append_durably(file, b"second\n") == 13
    assert file.read_bytes() == b"first\nsecond\n"


@pytest.fixture
def small_files() -> Iterator[None]:
    """Limit the files of this process to 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN, "the limit must raise OSError, not kill Python"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("size", [1001, 100_000])
def test_failed_write_keeps_the_old_file(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    write_durably(file, b"first")
    with pytest.raises(CheckpointError) as caught:
        write_durably(file, bytes(size))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file} ")
    assert "File too large" in line
    with pytest.raises(OSError, match="File too large"):
        replace_file(file, bytes(size))
    assert file.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_error_names_file_cause_and_the_run_to_resume(tmp_path: Path, code: int) -> None:
    (tmp_path / "run.json").write_text("{}")
    path = tmp_path / "commits" / "round-000003.json"
    with pytest.raises(CheckpointError) as caught, explained_write(path):
        raise OSError(code, os.strerror(code))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} ")
    assert f"({os.strerror(code)})" in line
    assert line.endswith(f"`{resume_line(tmp_path)}`")


def test_error_outside_a_run_does_not_mention_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file or directory") as caught:
        write_durably(tmp_path / "missing" / "file", b"")
    assert "sparsefleet resume" not in str(caught.value)


def test_failing_disk_does_not_hide_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this disk `stat` fails too, so that nothing can tell whether the file belongs to a run."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path, found = tmp_path / "metrics.jsonl", None
    with monkeypatch.context() as failing:
        failing.setattr(os, "stat", fail)
        try:
            with explained_write(path):
                fail()
        except CheckpointError as error:
            found = str(error)
    assert found is not None
    assert found.startswith(f"{path} ")
    assert "(Input/output error)" in found
    assert "sparsefleet resume" not in found
