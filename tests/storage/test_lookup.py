"""How every command finds runs, trials and sweeps: by key, option or file."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.folders import is_run, is_sweep
from orchestrator.storage.lookup import (
    find_folder,
    find_run,
    find_sweep,
    only_storage_key,
    split_storage_key,
    storage_folder,
)
from orchestrator.sweeping.store import SweepStore
from tests.support.sweeps import new_store


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


class TestStorageFolder:
    """`storage_folder`: the key takes precedence over the option, the option over the file."""

    @pytest.mark.parametrize(
        ("option", "key", "in_file", "expected"),
        [
            (None, None, None, "runs"),
            (None, None, "c", "c"),
            ("b", None, "c", "b"),
            ("b", "a", "c", "a"),
            (None, "a", "c", "a"),
            ("b", None, None, "b"),
            (None, "with space", None, "with space"),
            (None, "010", None, "010"),
        ],
    )
    def test_first_of_key_option_and_file_counts(
        self, option: str | None, key: str | None, in_file: str | None, expected: str
    ) -> None:
        found = storage_folder(
            None if option is None else Path(option),
            ["training.rounds=3", *([] if key is None else [f"runtime.storage={key}"])],
            {} if in_file is None else {"runtime": {"storage": in_file}},
        )
        assert found == Path(expected)

    def test_home_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for found in (storage_folder(Path("~/r")), storage_folder(None, ["runtime.storage=~/r"])):
            assert found == tmp_path / "r"

    @pytest.mark.parametrize("value", ["[a, b]", "{a: b}"])
    def test_value_that_is_no_path_is_rejected(self, value: str) -> None:
        with pytest.raises(ConfigError) as caught:
            storage_folder(None, [f"runtime.storage={value}"])
        assert caught.value.field == "runtime.storage"

    @pytest.mark.parametrize("content", [{"runtime": None}, {"runtime": 3}, {"seed": 3}])
    def test_file_without_the_key_does_not_count(self, content: dict[str, object]) -> None:
        assert storage_folder(None, [], content) == Path("runs")


def test_key_is_split_from_other_arguments() -> None:
    arguments = ["fed*", "runtime.storage=/a", "runtime.executor=ray"]
    assert split_storage_key(arguments) == (["fed*", "runtime.executor=ray"], ["runtime.storage=/a"])


def test_commands_that_only_read_runs_reject_other_keys() -> None:
    assert only_storage_key(["runtime.storage=/a"]) == ["runtime.storage=/a"]
    with pytest.raises(ConfigError) as caught:
        only_storage_key(["runtime.storage=/a", "training.rounds=3"])
    assert (caught.value.field, caught.value.value) == ("training.rounds", "3")


def _describe(store: SweepStore, space: str = "smoke", requested: str | None = None) -> None:
    store.describe({"space": space, "request": {"space": requested or space}, "base": {}})


class TestFindSweep:
    """`find_sweep`."""

    def test_sweep_is_found_by_path_and_id(self, tmp_path: Path) -> None:
        store = new_store(tmp_path / "runs")
        _describe(store)
        assert find_sweep(str(store.folder), tmp_path) == store.folder.resolve()
        assert find_sweep("sw-1", tmp_path / "runs") == store.folder.resolve()

    def test_newest_sweep_is_found_by_space(self, tmp_path: Path) -> None:
        for age, (name, space) in enumerate(
            [("c", "smoke"), ("a", "smoke"), ("b", "feddst"), ("d", "smoke")]
        ):
            store = new_store(tmp_path, name)
            _describe(store, space)
            os.utime(store.folder / "sweep.json", (1000 - age, 1000 - age))
        assert find_sweep("smoke", tmp_path).name == "c"
        assert find_sweep("feddst", tmp_path).name == "b"

    def test_sweep_is_found_by_name_and_path_of_a_space_file(self, tmp_path: Path) -> None:
        _describe(new_store(tmp_path), "own", "some/where/own.py")
        for name in ("own", "some/where/own.py"):
            assert find_sweep(name, tmp_path).name == "sw-1"

    @pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"space": "smoke", "request": null}'])
    def test_invalid_sweep_folder_is_ignored(self, tmp_path: Path, text: str) -> None:
        (new_store(tmp_path, "broken").folder / "sweep.json").write_text(text)
        _describe(new_store(tmp_path, "whole"))
        assert find_sweep("smoke", tmp_path).name == "whole"

    def test_unknown_sweep_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "plain-run").mkdir()
        for name in ("gone", "plain-run"):
            with pytest.raises(ConfigError) as caught:
                find_sweep(name, tmp_path)
            assert (caught.value.field, caught.value.value) == ("SWEEP", name)
            assert "--storage" in caught.value.remedy
