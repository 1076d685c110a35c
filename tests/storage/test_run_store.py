"""A run's folder: logs and commits count together or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.storage.checkpoint import Checkpoint, Templates
from orchestrator.storage.run_store import LOGS, RunStore, find_run

TEMPLATES = Templates(server={}, client=None)


def _commit(store: RunStore, round_idx: int, *, num_events: int = 2) -> None:
    commit = Checkpoint(
        round_idx=round_idx,
        server_state={"w": torch.tensor([float(round_idx)])},
        client_states={},
        shared_masks={},
        totals={},
        log_bytes={},
    )
    events = [f"event {round_idx}.{i}" for i in range(num_events)]
    failures = [f"failure {round_idx}"]
    logs = {"metrics.jsonl": [f"round {round_idx}"], "events.jsonl": events, "failures.jsonl": failures}
    store.commit(commit, logs)


def _lines(store: RunStore, name: str) -> list[str]:
    return (store.folder / name).read_text().splitlines()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "some-run")


def test_a_run_is_named_by_its_folder(store: RunStore) -> None:
    assert store.run_id == "some-run"


def test_a_commit_appends_to_the_logs_and_knows_their_length(store: RunStore) -> None:
    _commit(store, 0)
    _commit(store, 1, num_events=0)
    assert _lines(store, "metrics.jsonl") == ["round 0", "round 1"]
    assert _lines(store, "events.jsonl") == ["event 0.0", "event 0.1"]
    commit = RunStore(store.folder).restore(TEMPLATES)
    assert commit is not None
    assert (commit.round_idx, commit.server_state["w"].tolist()) == (1, [1.0])
    assert commit.log_bytes == {
        "metrics.jsonl": len("round 0\nround 1\n"),
        "events.jsonl": 20,
        "failures.jsonl": 20,
    }


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize(
    "tail", [b"", b"half a li", b"a whole line\n", b"whole\nand half", b"\n", b"\xff\x00"]
)
def test_what_was_written_after_the_last_commit_is_cut_off(store: RunStore, name: str, tail: bytes) -> None:
    for round_idx in range(2):
        _commit(store, round_idx)
    before = {log: (store.folder / log).read_bytes() for log in LOGS}
    with (store.folder / name).open("ab") as file:
        file.write(tail)
    again = RunStore(store.folder)
    assert again.restore(TEMPLATES) is not None
    assert {log: (store.folder / log).read_bytes() for log in LOGS} == before
    _commit(again, 2)
    assert _lines(again, "metrics.jsonl") == ["round 0", "round 1", "round 2"]


def test_a_run_killed_before_its_first_commit_begins_with_empty_logs(store: RunStore) -> None:
    for name in LOGS:
        (store.folder / name).write_text("round 0, never committed\n")
    assert store.restore(TEMPLATES) is None
    assert {(store.folder / name).read_bytes() for name in LOGS} == {b""}


def test_metrics_without_any_commit_are_not_thrown_away(store: RunStore) -> None:
    (store.folder / "metrics.jsonl").write_text("round 0\nround 1\n")
    with pytest.raises(CheckpointError, match="its commits are gone"):
        store.restore(TEMPLATES)
    assert _lines(store, "metrics.jsonl") == ["round 0", "round 1"]


def test_a_run_belongs_to_one_process_at_a_time(store: RunStore) -> None:
    with (
        store.locked(),
        pytest.raises(CheckpointError, match="in use by another process"),
        RunStore(store.folder).locked(),
    ):
        pass
    with store.locked():
        pass


@pytest.mark.parametrize("name", LOGS)
def test_a_log_shorter_than_its_commit_brings_the_one_before_back(store: RunStore, name: str) -> None:
    for round_idx in range(3):
        _commit(store, round_idx)
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    again = RunStore(store.folder)
    commit = again.restore(TEMPLATES)
    assert commit is not None
    assert commit.round_idx == 1
    assert f"{path} is shorter than its last commit says" in str(again.skipped_checkpoint)
    assert _lines(again, "metrics.jsonl") == ["round 0", "round 1"]
    assert len(_lines(again, "events.jsonl")) == 4
    assert (store.folder / "commits" / "torn-000002.json").is_file()
    third = RunStore(store.folder)
    assert third.restore(TEMPLATES) is not None
    assert third.skipped_checkpoint is None


def test_a_first_commit_that_is_torn_is_begun_anew(store: RunStore) -> None:
    _commit(store, 0)
    (store.folder / "commits" / "round-000000.json").write_bytes(b"")
    with (store.folder / "metrics.jsonl").open("a") as file:
        file.write("round 1, never committed\n")
    again = RunStore(store.folder)
    assert again.restore(TEMPLATES) is None
    assert "the run begins anew" in str(again.skipped_checkpoint)
    assert {(store.folder / name).read_bytes() for name in LOGS} == {b""}
    assert RunStore(store.folder).restore(TEMPLATES) is None


def test_a_kill_while_a_damaged_commit_is_passed_over_changes_nothing(store: RunStore) -> None:
    """The logs are cut first: the pointer that is set aside afterwards is damaged as before."""
    for round_idx in range(2):
        _commit(store, round_idx)
    (store.folder / "commits" / "server-000001.safetensors").write_bytes(b"")
    for name in LOGS:
        log = store.folder / name
        log.write_bytes(log.read_bytes()[: len(log.read_bytes()) // 2])
    commit = RunStore(store.folder).restore(TEMPLATES)
    assert commit is not None
    assert commit.round_idx == 0


def test_a_description_is_read_back(store: RunStore) -> None:
    about: dict[str, Any] = {"run_id": "some-run", "fingerprint": {"data": "ab"}, "git_commit": None}
    store.describe({"seed": 3, "tracking": {"experiment": "näme: x"}}, about)
    assert store.about() == about
    stored = yaml.safe_load((store.folder / "config.yaml").read_text(encoding="utf-8"))
    assert stored == {"seed": 3, "tracking": {"experiment": "näme: x"}}
    store.describe({"seed": 4}, about)
    assert yaml.safe_load((store.folder / "config.yaml").read_text()) == {"seed": 4}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[" * 100_000])
def test_a_description_that_cannot_be_read_is_refused(store: RunStore, content: bytes | None) -> None:
    if content is not None:
        (store.folder / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        store.about()


@pytest.mark.parametrize("content", [b"[" * 1000, b"a: &a [*a]", b"{a: 1, a: 2}", b"\xff", b"\0"])
def test_a_config_that_cannot_be_read_is_refused(store: RunStore, content: bytes) -> None:
    (store.folder / "config.yaml").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml cannot be read"):
        store.config()


@pytest.mark.parametrize("key", ["tags", "packages"])
def test_a_description_of_another_form_is_refused(store: RunStore, key: str) -> None:
    (store.folder / "run.json").write_text(json.dumps({key: [1]}))
    with pytest.raises(CheckpointError, match=rf"run\.json: {key} is no mapping"):
        store.about()


class TestFindRun:
    """A run is named by its id or by a path."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        folder = tmp_path / "runs" / "some-run"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({}))
        return folder

    def test_by_id(self, run: Path) -> None:
        assert find_run("some-run", run.parent) == run

    def test_by_path(self, run: Path, tmp_path: Path) -> None:
        assert find_run(str(run), tmp_path / "elsewhere") == run

    def test_by_relative_path(self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = find_run("runs/some-run", Path("elsewhere"))
        assert (found, found.is_absolute()) == (run, True)

    @pytest.mark.parametrize("name", ["some-rum", "runs", "", "some-run/commits"])
    def test_none(self, run: Path, name: str) -> None:
        with pytest.raises(ConfigError, match="there is no such run") as caught:
            find_run(name, run.parent)
        assert caught.value.field == "RUN"
        assert str(run.parent) in str(caught.value)
