"""The folder of a run: a resumed run sees the logs and the checkpoint of a round, or neither."""

from pathlib import Path

import pytest
import torch

from orchestrator.config.formats import CONFIG_FORMATS
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, Templates
from orchestrator.storage.run_logs import LOGS
from orchestrator.storage.run_store import RunStore

TEMPLATES = Templates(server={}, client=None)


def _commit(store: RunStore, round_idx: int, *, num_events: int = 2) -> None:
    checkpoint = Checkpoint(
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
    store.commit(checkpoint, logs)


def _lines(store: RunStore, name: str) -> list[str]:
    return (store.folder / name).read_text().splitlines()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    (tmp_path / "some-run").mkdir()
    return RunStore(tmp_path / "some-run")


def test_run_id_is_the_name_of_the_folder(store: RunStore) -> None:
    assert store.run_id == "some-run"


def test_commit_appends_to_the_logs_and_stores_their_length(store: RunStore) -> None:
    _commit(store, 0)
    _commit(store, 1, num_events=0)
    assert _lines(store, "metrics.jsonl") == ["round 0", "round 1"]
    assert _lines(store, "events.jsonl") == ["event 0.0", "event 0.1"]
    restored = RunStore(store.folder).restore(TEMPLATES)
    assert restored is not None
    assert (restored.round_idx, restored.server_state["w"].tolist()) == (1, [1.0])
    assert restored.log_bytes == {
        "metrics.jsonl": len("round 0\nround 1\n"),
        "events.jsonl": 20,
        "failures.jsonl": 20,
    }


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize(
    "tail", [b"", b"half a li", b"a whole line\n", b"whole\nand half", b"\n", b"\xff\x00"]
)
def test_restore_removes_log_lines_without_a_checkpoint(store: RunStore, name: str, tail: bytes) -> None:
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


def test_run_killed_before_its_first_checkpoint_starts_with_empty_logs(store: RunStore) -> None:
    for name in LOGS:
        (store.folder / name).write_text("round 0, never committed\n")
    assert store.restore(TEMPLATES) is None
    assert {(store.folder / name).read_bytes() for name in LOGS} == {b""}


def test_restore_rejects_metrics_without_checkpoints(store: RunStore) -> None:
    (store.folder / "metrics.jsonl").write_text("round 0\nround 1\n")
    with pytest.raises(CheckpointError, match="no checkpoints"):
        store.restore(TEMPLATES)
    assert _lines(store, "metrics.jsonl") == ["round 0", "round 1"]


def test_store_locks_its_folder(store: RunStore) -> None:
    with (
        store.locked(),
        pytest.raises(CheckpointError, match="another process"),
        RunStore(store.folder).locked(),
    ):
        pass
    with store.locked():
        pass


def test_failure_is_recorded_until_the_next_attempt(store: RunStore) -> None:
    file = store.folder / "failure.txt"
    with pytest.raises(KeyError), store.recording_failure():
        raise KeyError("first line\nsecond line")
    assert file.read_text() == "KeyError: 'first line\\nsecond line'\n"
    with pytest.raises(ValueError, match="one"), store.recording_failure():
        raise ValueError("one\ntwo")
    assert file.read_text() == "ValueError: one\n"
    store.describe({}, {})
    with store.recording_failure():
        store.start_attempt({})
        assert not file.exists()


def test_rejected_request_is_no_failure_until_it_is_accepted(store: RunStore) -> None:
    file = store.folder / "failure.txt"
    file.write_text("the failure before\n")
    rejection = ConfigError("seed", 1, "it is odd", "use 2")
    with pytest.raises(ConfigError), store.recording_failure():
        raise rejection
    assert file.read_text() == "the failure before\n"
    store.describe({}, {})
    store.start_attempt({})
    with pytest.raises(ConfigError), store.recording_failure():
        raise rejection
    assert file.read_text().startswith("ConfigError: seed=1: ")


def test_description_is_read_back(store: RunStore) -> None:
    about = {"run_id": "some-run", "format": CONFIG_FORMATS.latest}
    store.describe({"seed": 3}, about)
    assert (store.config(), store.about()) == ({"seed": 3}, about)


@pytest.mark.parametrize("name", LOGS)
def test_short_log_makes_restore_use_the_previous_checkpoint(store: RunStore, name: str) -> None:
    for round_idx in range(3):
        _commit(store, round_idx)
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    again = RunStore(store.folder)
    restored = again.restore(TEMPLATES)
    assert restored is not None
    assert restored.round_idx == 1
    assert f"{path} is shorter" in str(again.skipped_checkpoint)
    assert _lines(again, "metrics.jsonl") == ["round 0", "round 1"]
    assert len(_lines(again, "events.jsonl")) == 4
    assert (store.folder / "commits" / "torn-000002.json").is_file()
    third = RunStore(store.folder)
    assert third.restore(TEMPLATES) is not None
    assert third.skipped_checkpoint is None


def test_run_restarts_when_its_first_checkpoint_is_damaged(store: RunStore) -> None:
    _commit(store, 0)
    (store.folder / "commits" / "round-000000.json").write_bytes(b"")
    with (store.folder / "metrics.jsonl").open("a") as file:
        file.write("round 1, never committed\n")
    again = RunStore(store.folder)
    assert again.restore(TEMPLATES) is None
    assert "restarts at round 0" in str(again.skipped_checkpoint)
    assert {(store.folder / name).read_bytes() for name in LOGS} == {b""}
    assert RunStore(store.folder).restore(TEMPLATES) is None


def test_kill_while_a_damaged_checkpoint_is_skipped_is_harmless(store: RunStore) -> None:
    """`restore` truncates the logs before it renames the damaged pointer; a kill in between leaves short logs."""
    for round_idx in range(2):
        _commit(store, round_idx)
    (store.folder / "commits" / "server-000001.safetensors").write_bytes(b"")
    for name in LOGS:
        log = store.folder / name
        log.write_bytes(log.read_bytes()[: len(log.read_bytes()) // 2])
    restored = RunStore(store.folder).restore(TEMPLATES)
    assert restored is not None
    assert restored.round_idx == 0
