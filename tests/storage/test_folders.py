"""Runs, trials and sweeps in the storage folder."""

import errno
import os
import re
from pathlib import Path

import pytest

from orchestrator.storage.folders import is_either, is_run, is_sweep, unique_name


def test_unique_name_starts_with_the_stem() -> None:
    names = {unique_name("feddst") for _ in range(20)}
    assert len(names) > 15
    assert all(re.fullmatch(r"feddst-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A run, and a sweep with one trial."""
    for file in ("some-run/run.json", "some-sweep/sweep.json", "some-sweep/some-sweep-000/run.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("{}")
    (tmp_path / "some-run" / "commits").mkdir()
    return tmp_path


def test_each_folder_has_one_kind(storage: Path) -> None:
    trial = storage / "some-sweep" / "some-sweep-000"
    kinds = {folder: (is_run(folder), is_sweep(folder), is_either(folder)) for folder in (storage, trial)}
    assert kinds == {storage: (False, False, False), trial: (True, False, True)}
    assert (is_run(trial.parent), is_sweep(trial.parent)) == (False, True)
    assert not is_either(storage / "some-run" / "commits")


def test_failing_disk_raises_instead_of_reporting_no_run(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers may delete a folder that is not a run."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "stat", fail)
        with pytest.raises(OSError, match="Input/output"):
            is_run(storage / "some-run")
