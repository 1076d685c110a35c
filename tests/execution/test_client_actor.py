"""The actor keeps one experiment, and loads another one only when a task names it."""

from typing import Any

import numpy as np

from orchestrator.execution.client_actor import ClientActor
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
