"""Checkpoints: a restored run has the same bits, and a kill at any moment loses at most one round."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore


@dataclass(frozen=True, kw_only=True, eq=False)
class Server:
    """A server state with a leaf of every kind."""

    params: Tensor
    mask: Tensor | None
    precise: Tensor
    steps: Tensor
    empty: Tensor
    count: int
    rate: float
    name: str
    flag: bool
    by_layer: dict[str, Tensor]
    pair: tuple[Tensor, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Client:
    """A client state."""

    memory: Tensor
    num_tasks: int


def _server(seed: int, *, masked: bool = True) -> Server:
    rng = torch.Generator()
    rng.manual_seed(seed)
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    return Server(
        params=torch.cat([torch.randn(50, generator=rng), odd]),
        mask=torch.rand(54, generator=rng) < 0.3 if masked else None,
        precise=torch.randn(54, dtype=torch.float64, generator=rng),
        steps=torch.tensor(2**40 + seed),
        empty=torch.zeros(0, 3),
        count=seed,
        rate=0.1 + 0.2,
        name="naïve / name",
        flag=True,
        by_layer={f"fc{i}.weight": torch.randn(2, 3, generator=rng) for i in range(3)},
        pair=(torch.randn(6, generator=rng)[::2], float("inf")),
    )


def _client(number: int) -> Client:
    return Client(memory=torch.full((3,), float(number)), num_tasks=number)


TEMPLATES = Templates(server=_server(0, masked=False), client=_client(0))


def _checkpoint(round_idx: int, clients: dict[int, Any] | None = None, **changes: Any) -> Checkpoint:
    content: dict[str, Any] = {
        "round_idx": round_idx,
        "server_state": _server(round_idx),
        "client_states": clients or {},
        "shared_masks": {},
        "totals": {"comm/upload_bytes_total": 10.0 * round_idx, "time/wall_s_total": 0.1 + 0.2},
        "log_bytes": {"metrics.jsonl": 100 + round_idx},
    }
    return Checkpoint(**(content | changes))


def _assert_same(found: object, expected: object) -> None:
    """The same type, and the same bits in every tensor."""
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        assert isinstance(found, Tensor)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.contiguous().numpy().tobytes() == expected.contiguous().numpy().tobytes()
    elif isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key in expected:
            _assert_same(found[key], expected[key])
    elif isinstance(expected, tuple):
        assert isinstance(found, tuple)
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other)
    elif isinstance(expected, Server | Client):
        for name in expected.__dataclass_fields__:
            _assert_same(getattr(found, name), getattr(expected, name))
    else:
        assert repr(found) == repr(expected)


def _last(store: CheckpointStore) -> RestoredRun:
    restored = store.restore(TEMPLATES)
    assert restored is not None
    return restored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "commits"


@pytest.fixture
def store(path: Path) -> CheckpointStore:
    return CheckpointStore(path)


def test_new_run_has_no_checkpoint(store: CheckpointStore, path: Path) -> None:
    assert store.restore(TEMPLATES) is None
    assert not path.exists()


@pytest.mark.parametrize("masked", [True, False])
def test_restored_run_equals_the_written_checkpoint(store: CheckpointStore, path: Path, masked: bool) -> None:
    state = _server(3, masked=masked)
    written = _checkpoint(0, {4: _client(9)}, server_state=state, shared_masks={4: "abc", 17: "def"})
    store.write(written)
    found = CheckpointStore(path).restore(TEMPLATES)
    assert found is not None
    _assert_same(found.server_state, state)
    assert found.client_states.keys() == {4}
    _assert_same(found.client_states[4], _client(9))
    assert (found.round_idx, found.shared_masks) == (0, {4: "abc", 17: "def"})
    assert (found.totals, found.log_bytes) == (written.totals, written.log_bytes)


def test_restore_returns_the_latest_state_of_every_client(store: CheckpointStore) -> None:
    store.write(_checkpoint(0, {0: _client(1), 1: _client(2)}, shared_masks={0: "a", 1: "a"}))
    store.write(_checkpoint(1, {1: _client(3), 12: _client(4)}, shared_masks={1: "b", 12: "b"}))
    store.write(_checkpoint(2, {}, shared_masks={}))
    store.write(_checkpoint(3, {0: _client(5)}, shared_masks={0: "c"}))
    found = _last(store)
    assert {k: state.num_tasks for k, state in found.client_states.items()} == {0: 5, 1: 3, 12: 4}
    assert found.shared_masks == {0: "c", 1: "b", 12: "b"}
    for k, number in ((0, 5), (1, 3), (12, 4)):
        _assert_same(found.client_states[k], _client(number))


def test_restore_takes_the_highest_round_number(store: CheckpointStore) -> None:
    for round_idx in range(12):
        store.write(_checkpoint(round_idx, {1: _client(round_idx)}))
    found = _last(store)
    assert (found.round_idx, found.client_states[1].num_tasks) == (11, 11)


def test_stateless_method_writes_no_clients_file(store: CheckpointStore, path: Path) -> None:
    store.write(_checkpoint(0, {}))
    assert sorted(p.name for p in path.iterdir()) == ["round-000000.json", "server-000000.safetensors"]
    assert _last(store).client_states == {}


def test_restore_keeps_that_a_client_dropped_its_state(store: CheckpointStore) -> None:
    store.write(_checkpoint(0, {1: _client(1), 2: _client(2)}))
    store.write(_checkpoint(1, {1: None}))
    states = _last(store).client_states
    assert states[1] is None
    assert states[2] is not None


def test_store_keeps_only_the_last_two_server_states(store: CheckpointStore, path: Path) -> None:
    for round_idx in range(5):
        store.write(_checkpoint(round_idx, {round_idx: _client(1)}))
        kept = sorted(p.name for p in path.glob("server-*"))
        assert kept == [f"server-{r:06d}.safetensors" for r in range(max(0, round_idx - 1), round_idx + 1)]
    assert len(list(path.glob("round-*.json"))) == 5
    assert len(list(path.glob("clients-*"))) == 5
    assert not list(path.glob("*.tmp"))


def test_previous_checkpoint_can_be_restored(store: CheckpointStore, path: Path) -> None:
    for round_idx in range(3):
        store.write(_checkpoint(round_idx, {0: _client(round_idx)}))
    for file in path.glob("*-000002.*"):
        file.unlink()
    found = _last(store)
    assert (found.round_idx, found.client_states[0].num_tasks) == (1, 1)
    _assert_same(found.server_state, _server(1))


def test_round_can_be_committed_twice(store: CheckpointStore) -> None:
    store.write(_checkpoint(0, {0: _client(1)}))
    store.write(_checkpoint(0, {0: _client(2)}))
    assert _last(store).client_states[0].num_tasks == 2


def test_tensors_that_share_memory_are_restored(store: CheckpointStore) -> None:
    """A method may store one tensor twice, and clients of one process share the received model."""
    shared = torch.arange(54, dtype=torch.float32)
    state = _server(1)
    twin = Server(
        **{
            **{name: getattr(state, name) for name in state.__dataclass_fields__},
            "params": shared,
            "by_layer": {"all": shared, "first": shared[:5], "later": shared[3:9]},
        }
    )
    clients = {k: Client(memory=shared, num_tasks=k) for k in range(3)}
    store.write(_checkpoint(0, clients, server_state=twin))
    found = _last(store)
    _assert_same(found.server_state, twin)
    for k, state in clients.items():
        _assert_same(found.client_states[k], state)


def test_write_rejects_unsupported_types_with_their_path(store: CheckpointStore) -> None:
    with pytest.raises(TypeError, match=r"params.*list"):
        store.write(_checkpoint(0, server_state={"params": [1, 2]}))
    assert store.restore(TEMPLATES) is None


def test_restore_rejects_states_of_another_method_version(store: CheckpointStore) -> None:
    store.write(_checkpoint(0, {1: _client(1)}, server_state={"params": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"server-000000.*another version"):
        store.restore(TEMPLATES)


def test_restore_rejects_a_missing_earlier_pointer(store: CheckpointStore, path: Path) -> None:
    """Without the pointer, the run would silently lose the client states of that round."""
    for round_idx in range(3):
        store.write(_checkpoint(round_idx, {round_idx: _client(round_idx)}))
    (path / "round-000001.json").unlink()
    with pytest.raises(CheckpointError, match="000001"):
        store.restore(TEMPLATES)


def test_kill_during_write_leaves_the_old_or_the_new_checkpoint(store: CheckpointStore, path: Path) -> None:
    """Try every intermediate state of the folder: each file complete, partly written or absent."""
    for round_idx in range(2):
        store.write(_checkpoint(round_idx, {0: _client(round_idx)}))
    before = path.with_name("before")
    shutil.copytree(path, before)
    store.write(_checkpoint(2, {0: _client(2)}))
    order = ["server-000002.safetensors", "clients-000002.safetensors", "round-000002.json"]
    for num_whole in range(len(order) + 1):
        for half in (None, 0, 7):
            torn = path.with_name(f"torn-{num_whole}-{half}")
            shutil.copytree(before, torn)
            for name in order[:num_whole]:
                shutil.copy(path / name, torn / name)
            if half is not None and num_whole < len(order):
                name = order[num_whole]
                (torn / f"{name}.tmp").write_bytes((path / name).read_bytes()[:half])
            found = CheckpointStore(torn).restore(TEMPLATES)
            assert found is not None
            expected = 2 if num_whole == len(order) else 1
            assert (found.round_idx, found.client_states[0].num_tasks) == (expected, expected)
            CheckpointStore(torn).write(_checkpoint(2, {0: _client(7)}))
            assert _last(CheckpointStore(torn)).client_states[0].num_tasks == 7
