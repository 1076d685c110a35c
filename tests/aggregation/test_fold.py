"""The fold of a phase: who counts, the average by hand, stored client states, and rounds with too few updates."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.aggregation.fold import Fold
from orchestrator.aggregation.received_update import DecodedUpdate
from orchestrator.errors import RoundError
from orchestrator.federation.update import ClientFailure
from orchestrator.storage.checkpoints.client_memory import ClientMemory
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.saved_states import SavedClientStates
from tests.support.runs import prepared
from tests.support.updates import received_update

SERVER = torch.tensor([9.0, 9.0])


@pytest.fixture
def memory(tmp_path: Path) -> ClientMemory:
    """A memory without any client."""
    return ClientMemory(ClientStates(SavedClientStates(tmp_path, None)))


def _fold(memory: ClientMemory, *overrides: str, round_idx: int = 0) -> Fold:
    return Fold(prepared(*overrides), round_idx, memory)


def test_aggregate_is_the_mean_weighted_by_samples(memory: ClientMemory) -> None:
    """(10 * 1 + 30 * 3) / 40 = 2.5 and (10 * 2 + 30 * 6) / 40 = 5."""
    fold = _fold(memory)
    fold.add(received_update((1.0, 2.0), client_id=0, num_examples=10), "used")
    fold.add(received_update((3.0, 6.0), client_id=1, num_examples=30), "used")
    result = fold.finish(SERVER, 12.5, waited_s=2.0)
    assert result.aggregate.values.tolist() == [2.5, 5.0]
    assert (result.aggregate.num_updates, result.aggregate.total_weight) == (2, 40.0)
    assert (result.seconds, result.waited_s, result.num_kept) == (12.5, 2.0, 0)


@pytest.mark.parametrize("outcome", ["late", "surplus", "stale", "vanished"])
def test_update_with_another_outcome_is_billed_but_not_averaged(memory: ClientMemory, outcome: str) -> None:
    fold = _fold(memory)
    fold.add(received_update((1.0, 2.0)), "used")
    fold.add(received_update((50.0, 50.0), client_id=1, client_state={"x": 1}), outcome)  # type: ignore[arg-type]
    result = fold.finish(SERVER, 1.0)
    assert result.aggregate.values.tolist() == [1.0, 2.0]
    assert [(e.client_id, e.outcome) for e in result.events] == [(0, "used"), (1, outcome)]
    assert dict(memory.states) == {}
    assert fold.num_used == 1


def test_states_of_used_training_updates_are_stored(memory: ClientMemory) -> None:
    fold = _fold(memory, round_idx=2)
    fold.add(received_update(client_id=4, client_state={"steps": 3}), "used")
    fold.add(received_update(client_id=5, client_state={"steps": 9}, kind="loss"), "used")
    assert memory.changed_states(2) == {4: {"steps": 3}}


def test_event_has_the_round_of_the_fold_and_its_staleness(memory: ClientMemory) -> None:
    fold = _fold(memory, round_idx=5)
    fold.add(received_update(round_idx=2), "used")
    (event,) = fold.events
    assert (event.round_idx, event.staleness) == (5, 3)


def test_only_scores_are_taken_from_the_metrics(memory: ClientMemory) -> None:
    fold = _fold(memory)
    fold.add(received_update((1.0, 1.0), metrics={"loss": 0.5, "trained/accuracy": 0.75}), "used")
    assert fold.finish(SERVER, 0.0).trained_scores == [{"trained/accuracy": 0.75}]


def test_received_mask_is_stored_unless_the_download_was_interrupted(memory: ClientMemory) -> None:
    fold = _fold(memory, round_idx=1)
    fold.note_download(received_update(client_id=0, mask_digest="abc"))
    fold.note_download(received_update(client_id=1))
    lost = {"outcome": "vanished", "compute_s": 0.0, "upload_s": 0.0}
    fold.note_download(received_update(client_id=2, mask_digest="abc", **lost))
    assert memory.changed_masks(1) == {0: "abc"}


def test_uniform_weight_of_asynchronous_rounds_ignores_samples(memory: ClientMemory) -> None:
    """(1 + 3) / 2 = 2, although the second client has three times as many samples."""
    fold = _fold(memory, "asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")
    fold.add(received_update((1.0, 2.0), num_examples=10), "used")
    fold.add(received_update((3.0, 6.0), client_id=1, num_examples=30), "used")
    assert fold.finish(SERVER, 0.0).aggregate.values.tolist() == [2.0, 4.0]


def test_stale_update_is_discounted_towards_the_present_model(memory: ClientMemory) -> None:
    """Staleness 3 gives s = (1 + 3)^-0.5 = 1/2; the client moved by 4 from 0, so that 10 becomes 10 + 4 / 2 = 12."""
    fold = _fold(memory, "asynchrony.kind=fedbuff", "asynchrony.buffer_size=1", round_idx=3)
    fold.add(received_update((4.0, 4.0)), "used", present=torch.tensor([10.0, 20.0]))
    assert fold.finish(SERVER, 0.0).aggregate.values.tolist() == [12.0, 22.0]


def test_fedasync_needs_models(memory: ClientMemory) -> None:
    fold = _fold(memory, "asynchrony.kind=fedasync")
    without_model = DecodedUpdate(received=None, model=None, items=())
    with pytest.raises(RoundError, match="fedbuff"):
        fold.add(replace(received_update(), content=without_model), "used")


def test_round_with_too_few_updates_is_an_error_with_the_first_three_causes(memory: ClientMemory) -> None:
    fold = _fold(memory, "runtime.failure_policy=drop", "runtime.min_clients=2")
    fold.add(received_update(), "used")
    fold.failures += [
        ClientFailure(round_idx=0, position=k, client_id=k, stage="train", cause=f"cause-{k}")
        for k in (4, 5, 6, 7)
    ]
    with pytest.raises(RoundError, match=r"runtime\.min_clients=2") as caught:
        fold.finish(SERVER, 0.0)
    assert [f"cause-{k}" in str(caught.value) for k in (4, 5, 6, 7)] == [True, True, True, False]


def test_error_counts_devices_that_dropped_out(memory: ClientMemory) -> None:
    fold = _fold(memory)
    for client_id in range(2):
        fold.add(received_update(client_id=client_id), "vanished")
    with pytest.raises(RoundError, match="2 devices"):
        fold.finish(SERVER, 0.0)


def test_error_names_the_deadline_that_no_update_met(memory: ClientMemory) -> None:
    fold = _fold(memory, "fleet.deadline_s=0.5")
    fold.add(received_update(), "late")
    with pytest.raises(RoundError, match=r"fleet\.deadline_s=0\.5"):
        fold.finish(SERVER, 0.0)
