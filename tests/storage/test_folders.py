"""Runs, trials and sweeps in the storage folder, and how a name finds them."""

import errno
import os
import re
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.folders import find_folder, find_run, is_run, is_sweep, unique_name


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
def test_name_finds_a_run_a_trial_or_a_sweep(storage: Path, name: str, folder: str | None) -> None:
    assert find_folder(name, storage) == (None if folder is None else storage / folder)


def test_path_finds_a_run_outside_the_storage_folder(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(storage)
    for name in (str(storage / "some-run"), "some-run", "./some-run"):
        assert find_folder(name, Path("elsewhere")) == storage / "some-run"


def test_only_the_wanted_kind_is_found(storage: Path) -> None:
    assert find_folder("some-sweep", storage, is_run) is find_folder("some-run", storage, is_sweep) is None
    assert find_folder("some-run", storage, is_run) == storage / "some-run"
    assert find_folder("some-sweep", storage, is_sweep) == storage / "some-sweep"


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


class TestFindRun:
    """`find_run` takes an id or a path."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        folder = tmp_path / "runs" / "some-run"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        return folder

    def test_finds_a_run_by_id(self, run: Path) -> None:
        assert find_run("some-run", run.parent) == run

    def test_finds_a_run_by_path(self, run: Path, tmp_path: Path) -> None:
        assert find_run(str(run), tmp_path / "elsewhere") == run

    def test_finds_a_run_by_relative_path(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        found = find_run("runs/some-run", Path("elsewhere"))
        assert (found, found.is_absolute()) == (run, True)

    @pytest.mark.parametrize("name", ["some-rum", "runs", "", "some-run/commits"])
    def test_rejects_unknown_names(self, run: Path, name: str) -> None:
        with pytest.raises(ConfigError) as caught:
            find_run(name, run.parent)
        assert (caught.value.field, caught.value.value) == ("RUN", name)
        assert str(run.parent) in str(caught.value)
