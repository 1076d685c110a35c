"""Pointer files: content of another format is rejected although its checksum is right."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.checkpoints.pointer import Pointer, seal
from tests.support.checkpoints import TEMPLATES, assert_is_round, three_checkpoints


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three checkpoints."""
    return three_checkpoints(tmp_path / "commits")


def _content(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_bytes())
    del content["sha256"]
    return content


def test_written_pointer_is_read_back(folder: Path) -> None:
    file = folder / "round-000002.json"
    assert Pointer.read(file).to_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"round_idx": 1},
        {"round_idx": "2"},
        {"round_idx": True},
        {"files": {}},
        {"files": []},
        {"files": {"server-000002.safetensors": 3, "clients-000002.safetensors": "0"}},
        {"files": {"../../elsewhere": "0"}},
        {"client_states": None},
        {"client_states": []},
        {"client_states": ["-1"]},
        {"client_states": [2]},
        {"held_masks": {"x": "0"}},
        {"held_masks": {"1": 0}},
        {"totals": {"rounds": "3"}},
        {"totals": None},
        {"log_bytes": {"metrics.jsonl": 1.5}},
        {"flights": [{}]},
        {"flights": [3]},
        {"flights": 3},
    ],
)
def test_restore_rejects_pointers_of_another_format(folder: Path, changes: dict[str, Any]) -> None:
    file = folder / "round-000002.json"
    file.write_bytes(seal(_content(file) | changes))
    with pytest.raises(CheckpointError, match=r"round-000002\.json has another format") as caught:
        CheckpointStore(folder).restore(TEMPLATES)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["round_idx", "files", "client_states", "held_masks", "totals", "log_bytes"])
def test_restore_rejects_pointers_without_a_key(folder: Path, key: str) -> None:
    file = folder / "round-000002.json"
    content = _content(file)
    del content[key]
    file.write_bytes(seal(content))
    with pytest.raises(CheckpointError, match=r"round-000002\.json has another format"):
        CheckpointStore(folder).restore(TEMPLATES)


def test_restore_reads_pointers_of_older_releases(folder: Path) -> None:
    """Older releases wrote neither `log_sha256` nor `flights`."""
    for file in folder.glob("round-*.json"):
        content = _content(file)
        del content["log_sha256"], content["flights"]
        file.write_bytes(seal(content))
    assert_is_round(CheckpointStore(folder).restore(TEMPLATES), 2)


@pytest.mark.parametrize("name", ["round-abc.json", "round-2 (copy).json", "server-x.safetensors", "notes"])
def test_restore_ignores_files_of_other_names(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert_is_round(CheckpointStore(folder).restore(TEMPLATES), 2)
