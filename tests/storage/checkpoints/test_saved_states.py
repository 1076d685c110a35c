"""Committed client states: a cache of limited size, and files that are deleted when no checkpoint needs them."""

import weakref
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.atomic_write import write_durably
from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.checkpoint import Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.checkpoints.saved_states import (
    LEAF_BYTES,
    SavedClientStates,
    StateCache,
    clients_file,
    size_bytes,
)
from orchestrator.storage.checkpoints.state_file import encode
from tests.support.state_process import (
    SIZE,
    STATE_BYTES,
    NumberedState,
    StateProcess,
    numbered_state,
    numbers_of,
    rounds_with_clients_file,
)

WHOLE = torch.zeros(25)


def test_index_contains_the_clients_with_a_state(tmp_path: Path) -> None:
    states = SavedClientStates(tmp_path, 0)
    states.index(0, [7, 2])
    states.index(1, [2, 4])
    assert (len(states), list(states)) == (3, [2, 4, 7])
    assert [k in states for k in (-1, 0, 2, 7, 8, "2")] == [False, False, True, True, False, False]
    with pytest.raises(KeyError):
        states[3]


class TestMemory:
    """Only cached states and states of uncommitted rounds are in memory."""

    def test_cache_limits_committed_states(self, tmp_path: Path) -> None:
        """The run commits ten states, and the cache has space for three."""
        process = StateProcess(tmp_path, 3 * STATE_BYTES + 1)
        states = [weakref.ref(state) for state in self._commit_ten(process)]
        assert [k for k, state in enumerate(states) if state() is not None] == [7, 8, 9]
        assert process.states[8] is states[8]()
        assert process.states[2].number == 2
        assert [k for k, state in enumerate(states) if state() is not None] == [8, 9]

    @staticmethod
    def _commit_ten(process: StateProcess) -> list[NumberedState]:
        states = [numbered_state(number) for number in range(10)]
        for start in (0, 5):
            process.commit({k: states[k] for k in range(start, start + 5)})
        return states

    @pytest.mark.parametrize("num_rounds", [1, 2])
    def test_uncommitted_states_stay_in_memory(self, tmp_path: Path, num_rounds: int) -> None:
        """The cache is empty. One round trains while the round before is being committed."""
        process = StateProcess(tmp_path, 0)
        states = {k: numbered_state(k) for k in range(4)}
        for k, state in states.items():
            process.states.stage(k % num_rounds, {k: state})
        for k, state in states.items():
            assert process.states[k] is state
        process.commit()
        for k, state in states.items():
            assert (process.states[k] is state) == (k % num_rounds == 1)
        assert numbers_of(process.states) == {k: k for k in states}

    def test_cache_drops_the_least_recently_used_state(self) -> None:
        cache = StateCache(3 * STATE_BYTES)
        for k in range(3):
            cache.put(k, numbered_state(k))
        assert cache.get(0).number == 0
        cache.put(3, numbered_state(3))
        assert [k for k in range(4) if k in cache] == [0, 2, 3]
        cache.put(2, numbered_state(22))
        assert (cache.get(2).number, cache.num_bytes) == (22, 3 * STATE_BYTES)
        cache.put(4, NumberedState(values=torch.zeros(6 * SIZE), number=4))
        assert (cache.num_bytes, [k for k in range(5) if k in cache]) == (0, [])

    @pytest.mark.parametrize(
        ("state", "num_leaves", "value_bytes"),
        [
            (None, 1, 0),
            (7, 1, 0),
            ({"a": torch.zeros(10), "b": torch.zeros(10, dtype=torch.bool)}, 2, 50),
            ((torch.zeros(100)[:3],), 1, 400),
            (dict.fromkeys("abc", torch.zeros(25)), 3, 100),
            ({"a": WHOLE, "part": WHOLE[5:]}, 2, 100),
        ],
    )
    def test_size_counts_the_whole_storage_of_views_once(
        self, state: object, num_leaves: int, value_bytes: int
    ) -> None:
        assert size_bytes(state) == LEAF_BYTES * (1 + num_leaves) + value_bytes

    def test_stateless_method_writes_no_files(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        for _ in range(3):
            process.commit()
        assert (len(process.states), list(process.states), 0 in process.states) == (0, [], False)
        assert rounds_with_clients_file(tmp_path) == set()


class TestFiles:
    """A file is deleted when neither of the two newest checkpoints needs any of its states."""

    def test_files_without_latest_states_are_deleted(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(1), 1: numbered_state(2)})
        process.commit({0: numbered_state(3)})
        process.commit({1: numbered_state(4)})
        assert rounds_with_clients_file(tmp_path) == {0, 1, 2}, (
            "the checkpoint before needs the state of client 1"
        )
        process.commit()
        assert rounds_with_clients_file(tmp_path) == {1, 2}
        process.commit({0: None, 1: None})
        process.commit()
        assert rounds_with_clients_file(tmp_path) == {4}
        assert numbers_of(process.states) == {0: None, 1: None}

    @settings(max_examples=40)
    @given(
        rounds=st.lists(st.tuples(st.sets(st.integers(0, 3), max_size=2), st.booleans()), max_size=10),
        cached=st.integers(0, 2),
    )
    def test_files_of_the_two_newest_checkpoints_are_kept(
        self, rounds: list[tuple[set[int], bool]], cached: int
    ) -> None:
        """Compare with a count over all rounds, with and without restarts of the process."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            process, latest, before = StateProcess(folder, cached * STATE_BYTES), dict[int, int](), set[int]()
            for round_idx, (clients, restart) in enumerate(rounds):
                process.commit({k: numbered_state(round_idx) for k in clients})
                latest |= dict.fromkeys(clients, round_idx)
                needed = set(latest.values())
                assert rounds_with_clients_file(folder) == needed | before
                before = needed
                if restart:
                    process = StateProcess(folder, cached * STATE_BYTES)
                assert numbers_of(process.states) == latest

    @pytest.mark.parametrize("gone", [(), (0,), (1,), (0, 1)])
    def test_kill_during_deletion_is_harmless(self, tmp_path: Path, gone: tuple[int, ...]) -> None:
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(0)})
        process.commit({0: numbered_state(10), 1: numbered_state(11)})
        process.commit({0: numbered_state(20), 1: numbered_state(21)})
        process.write()
        for round_idx in gone:
            (tmp_path / clients_file(round_idx)).unlink(missing_ok=True)
        again = StateProcess(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (4, {0: 20, 1: 21})
        again.commit()
        assert rounds_with_clients_file(tmp_path) == {2}

    def test_previous_checkpoint_keeps_its_client_states(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        for number in range(4):
            process.commit({0: numbered_state(number), 1: numbered_state(10 + number)})
        assert rounds_with_clients_file(tmp_path) == {2, 3}
        for path in tmp_path.glob("*-000003.*"):
            path.unlink()
        again = StateProcess(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (3, {0: 2, 1: 12})

    def test_kill_before_the_pointer_keeps_the_earlier_states(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(1), 1: numbered_state(2)})
        for name in ("server-000001.safetensors", clients_file(1)):
            write_durably(tmp_path / name, encode({"0": numbered_state(7), "1": numbered_state(8)}))
        again = StateProcess(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (1, {0: 1, 1: 2})
        again.commit({1: numbered_state(3)})
        assert numbers_of(StateProcess(tmp_path).states) == {0: 1, 1: 3}

    def test_damage_to_superseded_states_is_ignored(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(1)})
        process.commit({0: numbered_state(2)})
        (tmp_path / clients_file(0)).write_bytes(b"")
        assert numbers_of(StateProcess(tmp_path).states) == {0: 2}

    def test_damaged_file_with_a_latest_state_is_rejected(self, tmp_path: Path) -> None:
        """The other state of the file is superseded."""
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(1), 1: numbered_state(2)})
        process.commit({0: numbered_state(3)})
        path = tmp_path / clients_file(0)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        with pytest.raises(CheckpointError, match=r"clients-000000\.safetensors"):
            StateProcess(tmp_path)

    def test_file_lost_during_a_run_is_named(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path, 0)
        process.commit({0: numbered_state(1)})
        (tmp_path / clients_file(0)).unlink()
        with pytest.raises(CheckpointError, match=r"clients-000000\.safetensors") as caught:
            process.states[0]
        assert len(str(caught.value).splitlines()) == 1

    def test_states_of_another_method_version_are_rejected_before_training(self, tmp_path: Path) -> None:
        StateProcess(tmp_path).commit({0: numbered_state(1)})
        templates = Templates(server={}, client=(torch.zeros(1),))
        with pytest.raises(CheckpointError, match=r"clients-000000.*another version"):
            CheckpointStore(tmp_path).restore(templates)
