"""The actor keeps one experiment, and loads another one only when a task names it."""

from typing import Any

import numpy as np

from orchestrator.execution.client_actor import ClientActor
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from tests.support.runs import NOTHING, initial_state, prepared


class FakeShared:
    """An experiment in the object store, which counts how often an actor loads it."""

    def __init__(self, recipe: str, experiment: Experiment) -> None:
        self.recipe, self.experiment, self.num_loaded = recipe, experiment, 0

    def get(self) -> Experiment:
        self.num_loaded += 1
        return self.experiment


def _update(actor: ClientActor, shared: Any, client_id: int) -> ClientUpdate[Any]:
    experiment = shared.experiment
    broadcast = Broadcast.of(experiment, initial_state(experiment))
    task = ClientTask(round_idx=0, position=0, client_id=client_id)
    update = actor.run(shared, task, broadcast.message.buffer, NOTHING, None)
    assert isinstance(update, ClientUpdate)
    return update


def test_experiment_is_loaded_once_for_all_tasks() -> None:
    actor, shared = ClientActor(), FakeShared("a", prepared())
    updates = [_update(actor, shared, client_id) for client_id in (0, 1, 0)]
    assert shared.num_loaded == 1
    assert [update.client_id for update in updates] == [0, 1, 0]
    assert np.array_equal(updates[0].buffer, updates[2].buffer)
    assert not np.array_equal(updates[0].buffer, updates[1].buffer)


def test_task_of_another_experiment_replaces_the_experiment() -> None:
    """The actors of a sweep's trial serve the next trial. An update does not depend on the tasks before it."""
    actor, first = ClientActor(), FakeShared("a", prepared())
    second = FakeShared("b", prepared("training.lr=0.2"))
    alone = _update(ClientActor(), FakeShared("b", second.experiment), 0)
    updates = [_update(actor, shared, 0) for shared in (first, second, first)]
    assert (first.num_loaded, second.num_loaded) == (2, 1)
    assert np.array_equal(updates[1].buffer, alone.buffer)
    assert np.array_equal(updates[0].buffer, updates[2].buffer)
    assert not np.array_equal(updates[0].buffer, updates[1].buffer)


def test_equal_reference_in_a_new_object_is_the_same_experiment() -> None:
    """Ray unpickles new reference objects for each task."""
    actor, experiment = ClientActor(), prepared()
    one, other = FakeShared("a", experiment), FakeShared("a", experiment)
    _update(actor, one, 0)
    _update(actor, other, 0)
    assert (one.num_loaded, other.num_loaded) == (1, 0)


def test_bundle_and_single_task_share_the_experiment() -> None:
    experiment = prepared("data.partition.kind=iid", "runtime.cohort=3")
    actor, shared = ClientActor(), FakeShared("a", experiment)
    alone = _update(actor, shared, 1)
    broadcast = Broadcast.of(experiment, initial_state(experiment)).message.buffer
    requests = tuple(
        TaskRequest(ClientTask(round_idx=0, position=place, client_id=place), None) for place in range(3)
    )
    given: Any = shared
    outcomes = actor.run_bundle(given, requests, broadcast)
    stored, *payloads = actor.run_bundle_and_store(given, requests, broadcast)
    assert shared.num_loaded == 1
    for place, (outcome, update, payload) in enumerate(zip(outcomes, stored, payloads, strict=True)):
        assert isinstance(outcome, ClientUpdate)
        assert outcome.client_id == update.client_id == place
        assert np.array_equal(outcome.buffer, payload)
        assert not update.buffer.size
    assert isinstance(outcomes[1], ClientUpdate)
    assert outcomes[1].train_flops == alone.train_flops
    values = [
        np.frombuffer(buffer[36:].tobytes(), np.float32) for buffer in (outcomes[1].buffer, alone.buffer)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=0.0, atol=1e-6)
