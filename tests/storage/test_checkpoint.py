"""Commits: what goes in comes out to the last bit, and whatever is torn is named."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoint import (
    Checkpoint,
    CheckpointStore,
    RestoredRun,
    Templates,
)


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


def _commit(round_idx: int, clients: dict[int, Any] | None = None, **changes: Any) -> Checkpoint:
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


def _last(folder: CheckpointStore) -> RestoredRun:
    commit = folder.last(TEMPLATES)
    assert commit is not None
    return commit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "commits"


@pytest.fixture
def folder(path: Path) -> CheckpointStore:
    return CheckpointStore(path)


def test_a_new_run_has_no_commit(folder: CheckpointStore, path: Path) -> None:
    assert path.is_dir()
    assert folder.last(TEMPLATES) is None


@pytest.mark.parametrize("masked", [True, False])
def test_what_goes_in_comes_out(folder: CheckpointStore, path: Path, masked: bool) -> None:
    state = _server(3, masked=masked)
    written = _commit(0, {4: _client(9)}, server_state=state, shared_masks={4: "abc", 17: "def"})
    folder.write(written)
    found = CheckpointStore(path).last(TEMPLATES)
    assert found is not None
    _assert_same(found.server_state, state)
    assert found.client_states.keys() == {4}
    _assert_same(found.client_states[4], _client(9))
    assert (found.round_idx, found.shared_masks) == (0, {4: "abc", 17: "def"})
    assert (found.totals, found.log_bytes) == (written.totals, written.log_bytes)


def test_every_client_comes_back_with_its_latest_state(folder: CheckpointStore) -> None:
    folder.write(_commit(0, {0: _client(1), 1: _client(2)}, shared_masks={0: "a", 1: "a"}))
    folder.write(_commit(1, {1: _client(3), 12: _client(4)}, shared_masks={1: "b", 12: "b"}))
    folder.write(_commit(2, {}, shared_masks={}))
    folder.write(_commit(3, {0: _client(5)}, shared_masks={0: "c"}))
    found = _last(folder)
    assert {k: state.num_tasks for k, state in found.client_states.items()} == {0: 5, 1: 3, 12: 4}
    assert found.shared_masks == {0: "c", 1: "b", 12: "b"}
    for k, number in ((0, 5), (1, 3), (12, 4)):
        _assert_same(found.client_states[k], _client(number))


def test_the_order_of_rounds_is_by_number(folder: CheckpointStore) -> None:
    for round_idx in range(12):
        folder.write(_commit(round_idx, {1: _client(round_idx)}))
    found = _last(folder)
    assert (found.round_idx, found.client_states[1].num_tasks) == (11, 11)


def test_stateless_clients_have_no_file(folder: CheckpointStore, path: Path) -> None:
    folder.write(_commit(0, {}))
    assert sorted(p.name for p in path.iterdir()) == ["round-000000.json", "server-000000.safetensors"]
    assert _last(folder).client_states == {}


def test_a_client_that_no_longer_keeps_a_state_is_remembered_so(folder: CheckpointStore) -> None:
    folder.write(_commit(0, {1: _client(1), 2: _client(2)}))
    folder.write(_commit(1, {1: None}))
    states = _last(folder).client_states
    assert states[1] is None
    assert states[2] is not None


def test_only_the_last_two_server_states_are_kept(folder: CheckpointStore, path: Path) -> None:
    for round_idx in range(5):
        folder.write(_commit(round_idx, {round_idx: _client(1)}))
        kept = sorted(p.name for p in path.glob("server-*"))
        assert kept == [f"server-{r:06d}.safetensors" for r in range(max(0, round_idx - 1), round_idx + 1)]
    assert len(list(path.glob("round-*.json"))) == 5
    assert len(list(path.glob("clients-*"))) == 5
    assert not list(path.glob("*.tmp"))


def test_going_back_a_round_is_possible(folder: CheckpointStore, path: Path) -> None:
    for round_idx in range(3):
        folder.write(_commit(round_idx, {0: _client(round_idx)}))
    for file in path.glob("*-000002.*"):
        file.unlink()
    found = _last(folder)
    assert (found.round_idx, found.client_states[0].num_tasks) == (1, 1)
    _assert_same(found.server_state, _server(1))


def test_a_round_may_be_committed_again(folder: CheckpointStore) -> None:
    folder.write(_commit(0, {0: _client(1)}))
    folder.write(_commit(0, {0: _client(2)}))
    assert _last(folder).client_states[0].num_tasks == 2


def test_memory_that_appears_twice_is_written_twice(folder: CheckpointStore) -> None:
    """A method may keep one tensor in two places, and clients of one process share what they received."""
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
    folder.write(_commit(0, clients, server_state=twin))
    found = _last(folder)
    _assert_same(found.server_state, twin)
    for k, state in clients.items():
        _assert_same(found.client_states[k], state)


def test_a_state_of_a_strange_kind_is_refused_by_its_path(folder: CheckpointStore) -> None:
    with pytest.raises(TypeError, match=r"params.*list"):
        folder.write(_commit(0, server_state={"params": [1, 2]}))
    assert folder.last(TEMPLATES) is None


def test_a_state_of_another_version_of_the_method_is_refused(folder: CheckpointStore) -> None:
    folder.write(_commit(0, {1: _client(1)}, server_state={"params": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="another version of the method"):
        folder.last(TEMPLATES)


def test_a_pointer_that_is_missing_from_the_middle_is_refused(folder: CheckpointStore, path: Path) -> None:
    """With it the states of its round's clients would be lost without a word."""
    for round_idx in range(3):
        folder.write(_commit(round_idx, {round_idx: _client(round_idx)}))
    (path / "round-000001.json").unlink()
    with pytest.raises(CheckpointError, match="000001"):
        folder.last(TEMPLATES)


def test_a_kill_at_any_moment_of_a_commit_leaves_one_of_the_two(folder: CheckpointStore, path: Path) -> None:
    """Every state the folder passes through, with each file whole, half written or not begun."""
    for round_idx in range(2):
        folder.write(_commit(round_idx, {0: _client(round_idx)}))
    before = path.with_name("before")
    shutil.copytree(path, before)
    folder.write(_commit(2, {0: _client(2)}))
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
            found = CheckpointStore(torn).last(TEMPLATES)
            assert found is not None
            expected = 2 if num_whole == len(order) else 1
            assert (found.round_idx, found.client_states[0].num_tasks) == (expected, expected)
            CheckpointStore(torn).write(_commit(2, {0: _client(7)}))
            assert _last(CheckpointStore(torn)).client_states[0].num_tasks == 7
