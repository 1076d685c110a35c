"""Sending the files of a folder one by one; a retry sends only the rest."""

from pathlib import Path

import pytest

from orchestrator.tracking.mlflow.files import send_files


class Target:
    """Takes files; rejects the files whose names are in `rejected`."""

    def __init__(self, *rejected: str) -> None:
        self.rejected = set(rejected)
        self.files: list[tuple[str, str | None]] = []

    def send(self, path: str, folder: str | None) -> None:
        if Path(path).name in self.rejected:
            raise ConnectionError(path)
        self.files.append((Path(path).name, folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, and one file two levels deeper."""
    for name in ("b.txt", "a.txt", "deep/er/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_arrive_in_order_with_their_folder(folder: Path) -> None:
    target, sent = Target(), set[str]()
    send_files(folder, target.send, sent)
    assert target.files == [("a.txt", None), ("b.txt", None), ("c.txt", "deep/er")]
    assert sent == {"/a.txt", "/b.txt", "/deep/er/c.txt"}


def test_retry_sends_only_files_that_have_not_arrived(folder: Path) -> None:
    target, sent = Target("b.txt"), set[str]()
    with pytest.raises(ConnectionError):
        send_files(folder, target.send, sent)
    assert target.files == [("a.txt", None)]
    target.rejected.clear()
    send_files(folder, target.send, sent)
    assert target.files == [("a.txt", None), ("b.txt", None), ("c.txt", "deep/er")]
    send_files(folder, target.send, sent)
    assert len(target.files) == 3


def test_each_owner_gets_its_own_copy(folder: Path) -> None:
    """Two models have files of the same names."""
    target, sent = Target(), set[str]()
    for owner in ("model-1", "model-2", "model-1"):
        send_files(folder, target.send, sent, owner=owner)
    assert len(target.files) == 6
    assert "model-2/deep/er/c.txt" in sent
