"""Damaged checkpoints: `restore` skips one damaged checkpoint, and rejects two."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.federation.plan import ClientTask
from orchestrator.storage.checkpoints.checkpoint import Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.checkpoints.in_flight import InFlightTask
from tests.support.checkpoints import TEMPLATES, assert_is_round, numbered_checkpoint, three_checkpoints

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "the first byte": lambda data: bytes([data[0] ^ 255]) + data[1:],
    "the last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "its end": lambda data: data[: len(data) // 2],
    "everything": lambda data: b"",
    "more than it had": lambda data: data + b" {}",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three checkpoints."""
    return three_checkpoints(tmp_path / "commits")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["round-000002.json", "server-000002.safetensors", "clients-000002.safetensors"]
)
def test_restore_skips_a_damagednumbered_checkpoint(path: Path, name: str, damage: str) -> None:
    file = path / name
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    store = CheckpointStore(path)
    assert_is_round(store.restore(TEMPLATES), 1)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    (line,) = str(store.skipped_checkpoint).splitlines()
    assert f"{file} is corrupt" in line
    assert "after round 1" in line
    assert line.endswith("torn-000002.json")
    store.set_aside()
    assert (path / "torn-000002.json").read_bytes() == before["round-000002.json"]
    assert not (path / "round-000002.json").exists()
    again = CheckpointStore(path)
    assert_is_round(again.restore(TEMPLATES), 1)
    assert again.skipped_checkpoint is None
    again.write(numbered_checkpoint(2))
    assert_is_round(CheckpointStore(path).restore(TEMPLATES), 2)


def test_each_damaged_pointer_gets_its_own_name(path: Path) -> None:
    for _ in range(3):
        (path / "server-000002.safetensors").write_bytes(b"")
        store = CheckpointStore(path)
        assert_is_round(store.restore(TEMPLATES), 1)
        store.set_aside()
        store.write(numbered_checkpoint(2))
    names = ["torn-000002-2.json", "torn-000002-3.json", "torn-000002.json"]
    assert sorted(file.name for file in path.glob("torn-*")) == names
    assert_is_round(CheckpointStore(path).restore(TEMPLATES), 2)


@pytest.mark.parametrize("name", ["server-000002.safetensors", "clients-000002.safetensors"])
def test_missing_file_counts_as_damage(path: Path, name: str) -> None:
    (path / name).unlink()
    store = CheckpointStore(path)
    assert_is_round(store.restore(TEMPLATES), 1)
    assert f"{path / name} cannot be read" in str(store.skipped_checkpoint)


@pytest.mark.parametrize(
    "content", ["null", "[]", '"x"', "3", "{}", '{"sha256": "0"}', "{", "\x00", "[" * 100_000]
)
def test_unreadable_pointer_counts_as_damage(path: Path, content: str) -> None:
    (path / "round-000002.json").write_text(content)
    store = CheckpointStore(path)
    assert_is_round(store.restore(TEMPLATES), 1)
    assert "round-000002.json is corrupt" in str(store.skipped_checkpoint)


def test_edited_pointer_counts_as_damage(path: Path) -> None:
    pointer = json.loads((path / "round-000002.json").read_text())
    pointer["totals"]["rounds"] += 1
    (path / "round-000002.json").write_text(json.dumps(pointer))
    store = CheckpointStore(path)
    assert_is_round(store.restore(TEMPLATES), 1)
    assert "its checksum differs" in str(store.skipped_checkpoint)


@pytest.mark.parametrize("name", ["round-000000.json", "server-000000.safetensors"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_run_restarts_when_its_only_checkpoint_is_damaged(tmp_path: Path, name: str, damage: str) -> None:
    CheckpointStore(tmp_path).write(numbered_checkpoint(0))
    (tmp_path / name).write_bytes(DAMAGE[damage]((tmp_path / name).read_bytes()))
    store = CheckpointStore(tmp_path)
    assert store.restore(TEMPLATES) is None
    assert str(tmp_path / name) in str(store.skipped_checkpoint)
    assert "restarts at round 0" in str(store.skipped_checkpoint)


@pytest.mark.parametrize(
    ("newest", "before"),
    [
        ("server-000002.safetensors", "server-000001.safetensors"),
        ("clients-000002.safetensors", "server-000001.safetensors"),
        ("round-000002.json", "clients-000001.safetensors"),
        ("round-000002.json", "clients-000000.safetensors"),
        ("clients-000000.safetensors", "clients-000000.safetensors"),
        ("round-000000.json", "round-000000.json"),
    ],
)
def test_restore_rejects_two_damaged_checkpoints(path: Path, newest: str, before: str) -> None:
    for name in {newest, before}:
        (path / name).write_bytes((path / name).read_bytes()[:-1])
    files = sorted(p.name for p in path.iterdir())
    store = CheckpointStore(path)
    with pytest.raises(CheckpointError) as caught:
        store.restore(TEMPLATES)
    (line,) = str(caught.value).splitlines()
    assert "rounds 2 and 1 " in line
    assert line.count(str(path / before)) == line.count(str(path / newest)) == 1
    store.set_aside()
    assert sorted(p.name for p in path.iterdir()) == files


@pytest.mark.parametrize("name", ["round-000002.json", "server-000002.safetensors"])
def test_access_problem_does_not_count_as_damage(path: Path, name: str) -> None:
    """A circular link behaves like a stale mount: the checkpoint may be valid, so `restore` must not skip it."""
    (path / name).unlink()
    (path / name).symlink_to(path / name)
    store = CheckpointStore(path)
    with pytest.raises(CheckpointError, match=rf"{name} .*\(Too many levels"):
        store.restore(TEMPLATES)
    assert store.skipped_checkpoint is None


def test_restore_ignores_damage_to_the_previous_server_state(path: Path) -> None:
    (path / "server-000001.safetensors").write_bytes(b"")
    store = CheckpointStore(path)
    assert_is_round(store.restore(TEMPLATES), 2)
    assert store.skipped_checkpoint is None


def test_states_of_another_method_version_do_not_count_as_damage(path: Path) -> None:
    store = CheckpointStore(path)
    with pytest.raises(CheckpointError, match=r"server-000002.*another version"):
        store.restore(Templates(server=(torch.zeros(1),), client=TEMPLATES.client))
    assert store.skipped_checkpoint is None


def test_server_states_of_tasks_in_flight_are_verified(tmp_path: Path) -> None:
    """The checkpoints of rounds 1 and 2 both need the server state after round 0, where their task started."""
    store = CheckpointStore(tmp_path)
    flight = InFlightTask(
        task=ClientTask(round_idx=1, position=0, client_id=0), start_s=0.5, download_bytes=8
    )
    for round_idx, in_flight in enumerate([(), (flight,), (flight,)]):
        store.write(numbered_checkpoint(round_idx, in_flight=in_flight))
    (tmp_path / "server-000002.safetensors").write_bytes(b"")
    restored = CheckpointStore(tmp_path).restore(TEMPLATES)
    assert_is_round(restored, 1)
    assert restored is not None
    assert restored.in_flight == (flight,)
    assert restored.earlier_states[0]["w"].tolist() == [0.0] * 3
    (tmp_path / "server-000000.safetensors").unlink()
    with pytest.raises(CheckpointError, match="rounds 2 and 1 "):
        CheckpointStore(tmp_path).restore(TEMPLATES)
