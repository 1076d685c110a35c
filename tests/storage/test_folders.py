"""What lies in the storage folder, and how it is found."""

import errno
import os
from pathlib import Path

import pytest

from orchestrator.storage.folders import find_folder, is_run, is_sweep


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A run, and a sweep with one trial."""
    for file in ("some-run/run.json", "some-sweep/sweep.json", "some-sweep/some-sweep-000/run.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("{}")
    (tmp_path / "some-run" / "commits").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("some-run", "some-run"),
        ("some-sweep", "some-sweep"),
        ("some-sweep-000", "some-sweep/some-sweep-000"),
        ("some-rum", None),
        ("commits", None),
        ("", None),
        (".", None),
        ("some-run/../some-sweep-000", None),
    ],
)
def test_a_name_leads_to_a_run_a_trial_or_a_sweep(storage: Path, name: str, folder: str | None) -> None:
    assert find_folder(name, storage) == (None if folder is None else storage / folder)


def test_a_path_leads_there_wherever_the_storage_is(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(storage)
    for name in (str(storage / "some-run"), "some-run", "./some-run"):
        assert find_folder(name, Path("elsewhere")) == storage / "some-run"


def test_only_what_is_wanted_is_found(storage: Path) -> None:
    assert find_folder("some-sweep", storage, is_run) is find_folder("some-run", storage, is_sweep) is None
    assert find_folder("some-run", storage, is_run) == storage / "some-run"
    assert find_folder("some-sweep", storage, is_sweep) == storage / "some-sweep"


def test_a_disk_that_fails_is_no_disk_without_the_run(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no run may be deleted."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "stat", fail)
        with pytest.raises(OSError, match="Input/output"):
            is_run(storage / "some-run")
