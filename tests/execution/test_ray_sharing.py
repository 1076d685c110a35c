"""Experiments in Ray's object store: complete, read in place, and with data that several experiments share."""

import numpy as np
import pytest

from orchestrator.execution.client import ClientRunner
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from tests.support.runs import NOTHING, initial_state, prepared

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def _update(experiment: Experiment) -> bytes:
    """The encoded update of client 0 in round 0."""
    message = Broadcast.of(experiment, initial_state(experiment)).message
    task = ClientTask(round_idx=0, position=0, client_id=0)
    update = ClientRunner(experiment).run(task, message.buffer, NOTHING, None)
    assert isinstance(update, ClientUpdate)
    return update.buffer.tobytes()


def test_shared_experiment_trains_like_the_original() -> None:
    experiment = prepared("algorithm.name=feddst", "fleet.name=five-tier")
    found = share(experiment).get()
    assert found is not experiment
    assert found.config == experiment.config
    assert np.array_equal(found.initial, experiment.initial)
    assert _update(found) == _update(experiment)


def test_samples_are_read_in_place() -> None:
    found = share(prepared()).get()
    assert not found.dataset.train_inputs.flags.writeable
    assert not found.dataset.test_labels.flags.writeable


def test_experiments_can_share_samples() -> None:
    """The trials of a sweep have one copy of the data, and each its own recipe."""
    first = share(prepared())
    second = share(prepared("training.lr=0.2"), first.samples)
    assert second.samples is first.samples
    assert second.recipe != first.recipe
    assert second.get().config.training.lr == 0.2
    assert np.array_equal(second.get().partition.train[3], first.get().partition.train[3])
