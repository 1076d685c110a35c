"""Committed client states: a bounded part of them in memory, the rest in files that go when nobody needs them."""

import weakref
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import CheckpointError
from orchestrator.storage.atomic_write import write_durably
from orchestrator.storage.checkpoint import CheckpointStore, Templates
from orchestrator.storage.saved_states import (
    LEAF_BYTES,
    SavedClientStates,
    StateCache,
    clients_file,
    size_bytes,
)
from orchestrator.storage.state_file import encode
from tests.support.keeping import (
    SIZE,
    STATE_BYTES,
    Kept,
    Process,
    files_of,
    kept,
    numbers_of,
)

WHOLE = torch.zeros(25)


def test_the_index_knows_who_has_a_state(tmp_path: Path) -> None:
    states = SavedClientStates(tmp_path, 0)
    states.index(0, [7, 2])
    states.index(1, [2, 4])
    assert (len(states), list(states)) == (3, [2, 4, 7])
    assert [k in states for k in (-1, 0, 2, 7, 8, "2")] == [False, False, True, True, False, False]
    with pytest.raises(KeyError):
        states[3]


class TestMemory:
    """Bounded by the cache and the rounds that are not committed."""

    def test_committed_states_stay_within_the_bound(self, tmp_path: Path) -> None:
        """Ten are committed; three fit."""
        process = Process(tmp_path, 3 * STATE_BYTES + 1)
        states = [weakref.ref(state) for state in self._commit_ten(process)]
        assert [k for k, state in enumerate(states) if state() is not None] == [7, 8, 9]
        assert process.states[8] is states[8]()
        assert process.states[2].number == 2
        assert [k for k, state in enumerate(states) if state() is not None] == [8, 9]

    @staticmethod
    def _commit_ten(process: Process) -> list[Kept]:
        states = [kept(number) for number in range(10)]
        for start in (0, 5):
            process.commit({k: states[k] for k in range(start, start + 5)})
        return states

    @pytest.mark.parametrize("num_rounds", [1, 2])
    def test_states_that_are_not_committed_stay(self, tmp_path: Path, num_rounds: int) -> None:
        """Without room for any other: one round trains while the one before is being committed."""
        process = Process(tmp_path, 0)
        states = {k: kept(k) for k in range(4)}
        for k, state in states.items():
            process.states.stage(k % num_rounds, {k: state})
        for k, state in states.items():
            assert process.states[k] is state
        process.commit()
        for k, state in states.items():
            assert (process.states[k] is state) == (k % num_rounds == 1)
        assert numbers_of(process.states) == {k: k for k in states}

    def test_least_recently_used_states_make_room(self) -> None:
        cache = StateCache(3 * STATE_BYTES)
        for k in range(3):
            cache.put(k, kept(k))
        assert cache.get(0).number == 0
        cache.put(3, kept(3))
        assert [k for k in range(4) if k in cache] == [0, 2, 3]
        cache.put(2, kept(22))
        assert (cache.get(2).number, cache.num_bytes) == (22, 3 * STATE_BYTES)
        cache.put(4, Kept(values=torch.zeros(6 * SIZE), number=4))
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
    def test_a_state_takes_what_it_keeps_alive(
        self, state: object, num_leaves: int, value_bytes: int
    ) -> None:
        assert size_bytes(state) == LEAF_BYTES * (1 + num_leaves) + value_bytes

    def test_methods_without_client_state_cost_nothing(self, tmp_path: Path) -> None:
        process = Process(tmp_path)
        for _ in range(3):
            process.commit()
        assert (len(process.states), list(process.states), 0 in process.states) == (0, [], False)
        assert files_of(tmp_path) == set()


class TestFiles:
    """A file goes when all of its states have later ones in both of the two newest commits."""

    def test_when(self, tmp_path: Path) -> None:
        process = Process(tmp_path)
        process.commit({0: kept(1), 1: kept(2)})
        process.commit({0: kept(3)})
        process.commit({1: kept(4)})
        assert files_of(tmp_path) == {0, 1, 2}, "the commit before needs the state of client 1"
        process.commit()
        assert files_of(tmp_path) == {1, 2}
        process.commit({0: None, 1: None})
        process.commit()
        assert files_of(tmp_path) == {4}
        assert numbers_of(process.states) == {0: None, 1: None}

    @settings(max_examples=40)
    @given(
        rounds=st.lists(st.tuples(st.sets(st.integers(0, 3), max_size=2), st.booleans()), max_size=10),
        cached=st.integers(0, 2),
    )
    def test_never_one_that_the_two_newest_commits_need(
        self, rounds: list[tuple[set[int], bool]], cached: int
    ) -> None:
        """Whether or not the process is a new one, as counted by hand over all of the rounds."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            process, latest, before = Process(folder, cached * STATE_BYTES), dict[int, int](), set[int]()
            for round_idx, (clients, restart) in enumerate(rounds):
                process.commit({k: kept(round_idx) for k in clients})
                latest |= dict.fromkeys(clients, round_idx)
                needed = set(latest.values())
                assert files_of(folder) == needed | before
                before = needed
                if restart:
                    process = Process(folder, cached * STATE_BYTES)
                assert numbers_of(process.states) == latest

    @pytest.mark.parametrize("gone", [(), (0,), (1,), (0, 1)])
    def test_killed_while_they_are_deleted(self, tmp_path: Path, gone: tuple[int, ...]) -> None:
        process = Process(tmp_path)
        process.commit({0: kept(0)})
        process.commit({0: kept(10), 1: kept(11)})
        process.commit({0: kept(20), 1: kept(21)})
        process.write()
        for round_idx in gone:
            (tmp_path / clients_file(round_idx)).unlink(missing_ok=True)
        again = Process(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (4, {0: 20, 1: 21})
        again.commit()
        assert files_of(tmp_path) == {2}

    def test_one_can_go_back_by_a_round(self, tmp_path: Path) -> None:
        process = Process(tmp_path)
        for number in range(4):
            process.commit({0: kept(number), 1: kept(10 + number)})
        assert files_of(tmp_path) == {2, 3}
        for path in tmp_path.glob("*-000003.*"):
            path.unlink()
        again = Process(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (3, {0: 2, 1: 12})

    def test_a_kill_between_the_states_and_the_pointer_leaves_the_earlier_ones(self, tmp_path: Path) -> None:
        process = Process(tmp_path)
        process.commit({0: kept(1), 1: kept(2)})
        for name in ("server-000001.safetensors", clients_file(1)):
            write_durably(tmp_path / name, encode({"0": kept(7), "1": kept(8)}))
        again = Process(tmp_path)
        assert (again.round_idx, numbers_of(again.states)) == (1, {0: 1, 1: 2})
        again.commit({1: kept(3)})
        assert numbers_of(Process(tmp_path).states) == {0: 1, 1: 3}

    def test_damage_to_superseded_states_does_not_matter(self, tmp_path: Path) -> None:
        process = Process(tmp_path)
        process.commit({0: kept(1)})
        process.commit({0: kept(2)})
        (tmp_path / clients_file(0)).write_bytes(b"")
        assert numbers_of(Process(tmp_path).states) == {0: 2}

    def test_damage_to_one_state_that_counts_is_named(self, tmp_path: Path) -> None:
        """Also where the file's other states are superseded."""
        process = Process(tmp_path)
        process.commit({0: kept(1), 1: kept(2)})
        process.commit({0: kept(3)})
        path = tmp_path / clients_file(0)
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        with pytest.raises(CheckpointError, match=r"clients-000000\.safetensors is corrupt"):
            Process(tmp_path)

    def test_a_file_that_is_lost_during_a_run_is_named(self, tmp_path: Path) -> None:
        process = Process(tmp_path, 0)
        process.commit({0: kept(1)})
        (tmp_path / clients_file(0)).unlink()
        with pytest.raises(CheckpointError, match=r"clients-000000\.safetensors cannot be read") as caught:
            process.states[0]
        assert len(str(caught.value).splitlines()) == 1

    def test_states_of_another_version_of_the_method_are_refused_at_once(self, tmp_path: Path) -> None:
        Process(tmp_path).commit({0: kept(1)})
        templates = Templates(server={}, client=(torch.zeros(1),))
        with pytest.raises(CheckpointError, match=r"clients-000000.*another version of the method"):
            CheckpointStore(tmp_path).last(templates)
