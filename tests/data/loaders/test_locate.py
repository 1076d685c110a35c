"""The folder of a data set: the configured one, or one downloaded into the home folder."""

from pathlib import Path

import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.locate import cache_folder, existing_root, root_or_download
from orchestrator.errors import DataError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home_folder_in_the_root_is_expanded(home: Path) -> None:
    (home / "data").mkdir()
    assert existing_root(DataConfig(root=Path("~/data")), "a folder") == home / "data"


def test_missing_root_is_rejected_with_the_expected_layout(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(DataError) as caught:
        existing_root(DataConfig(root=missing), "the idx files")
    assert (caught.value.field, caught.value.value) == ("data.root", missing)
    assert "the idx files" in caught.value.remedy


def test_configured_root_is_read_without_a_download(tmp_path: Path) -> None:
    downloads: list[Path] = []
    assert root_or_download(DataConfig(root=tmp_path), "files", downloads.append) == tmp_path
    assert downloads == []


def test_download_goes_into_the_cache_in_the_home_folder(home: Path) -> None:
    downloads: list[Path] = []
    assert root_or_download(DataConfig(), "files", downloads.append) == home / ".cache" / "sparsefleet"
    assert downloads == [cache_folder()]


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_failed_download_is_rejected_with_its_cause(home: Path, kind: type[Exception]) -> None:
    def download(folder: Path) -> None:
        raise kind("no\n  network")

    with pytest.raises(DataError) as caught:
        root_or_download(DataConfig(name="mnist"), "the idx files", download)
    assert (caught.value.field, caught.value.value) == ("data.root", None)
    assert "no network" in caught.value.problem
    assert isinstance(caught.value.__cause__, kind)
