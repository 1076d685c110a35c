"""The driver's memory of each client: the latest state, the state after a round, and the shared mask."""

from pathlib import Path

import pytest

from orchestrator.storage.checkpoints.client_memory import ClientMemory
from tests.support.state_process import StateProcess, numbered_state


@pytest.fixture
def memory(tmp_path: Path) -> ClientMemory:
    return ClientMemory(StateProcess(tmp_path).states)


def _numbers(memory: ClientMemory, round_idx: int | None = None) -> dict[int, int | None]:
    states = memory.states if round_idx is None else memory.states_after(round_idx)
    return {k: None if states[k] is None else states[k].number for k in states}


def test_states_are_the_latest_of_each_client(memory: ClientMemory) -> None:
    memory.store_state(0, 3, numbered_state(1))
    memory.store_state(0, 5, numbered_state(2))
    memory.store_state(1, 3, numbered_state(7))
    assert _numbers(memory) == {3: 7, 5: 2}


def test_states_after_a_round_ignore_later_rounds(memory: ClientMemory) -> None:
    """Probes of round 1 change a state while clients still score the models of round 0."""
    memory.store_state(0, 3, numbered_state(1))
    memory.store_state(1, 3, numbered_state(7))
    memory.store_state(1, 4, numbered_state(8))
    assert _numbers(memory, 0) == {3: 1}
    assert _numbers(memory, 1) == {3: 7, 4: 8}


def test_client_that_never_had_a_state_has_no_entry(memory: ClientMemory) -> None:
    memory.store_state(0, 3, None)
    assert _numbers(memory) == {}
    memory.store_state(0, 3, numbered_state(1))
    memory.store_state(1, 3, None)
    assert _numbers(memory) == {3: None}, "the checkpoint must say that the state is gone"


def test_checkpoint_has_only_what_its_round_changed(memory: ClientMemory) -> None:
    memory.store_state(0, 3, numbered_state(1))
    memory.store_mask(0, 3, "digest a")
    memory.store_mask(1, 4, "digest b")
    assert memory.changed_states(0).keys() == {3}
    assert memory.changed_masks(0) == {3: "digest a"}
    assert memory.changed_states(1) == {}
    assert memory.changed_masks(1) == {4: "digest b"}
    assert memory.changed_masks(2) == {}


def test_mask_is_the_one_that_the_client_received_last(tmp_path: Path) -> None:
    restored = {3: "digest a"}
    memory = ClientMemory(StateProcess(tmp_path).states, restored)
    assert (memory.shared_mask(3), memory.shared_mask(4)) == ("digest a", None)
    memory.store_mask(2, 3, "digest b")
    assert memory.shared_mask(3) == "digest b"
    assert restored == {3: "digest a"}, "the mapping of the caller must not change"


def test_commit_ends_the_round_but_keeps_masks_and_states(tmp_path: Path) -> None:
    process = StateProcess(tmp_path)
    memory = ClientMemory(process.states)
    memory.store_state(0, 3, numbered_state(1))
    memory.store_mask(0, 3, "digest a")
    memory.store_mask(1, 4, "digest b")
    process.write()
    memory.commit(0)
    assert memory.changed_states(0) == {}
    assert memory.changed_masks(0) == {}
    assert memory.changed_masks(1) == {4: "digest b"}
    assert (memory.shared_mask(3), _numbers(memory)) == ("digest a", {3: 1})
