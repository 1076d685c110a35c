"""Trainings fit, or do not fit, into the memory of a device."""

from dataclasses import replace

import pytest
from torch import nn

from orchestrator.config.training import TrainingConfig
from orchestrator.contract.experiment import prepared
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.device_memory import DeviceMemory, DeviceMemoryError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import ClientFailure
from orchestrator.models.parameters import FlatModule
from orchestrator.rounds.broadcast import Broadcast
from tests.support.fakes import DEVICE, cohort, population_of
from tests.support.runs import initial_state

#: 4 x 3 + 3 + 3 x 2 + 2 = 23 weights, 3 + 3 + 2 activations a sample
NET = (nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def _needed(num_samples: int, **training: object) -> float:
    config = TrainingConfig.model_validate({"batch_size": 10, **training})
    return DeviceMemory(config, (1, 2, 2)).needed_bytes(FlatModule(nn.Sequential(*NET)), num_samples)


def test_needed_bytes_match_calculation_by_hand() -> None:
    assert _needed(100, momentum=0.9) == 4 * (3 * 23 + 10 * 8)
    assert _needed(100, momentum=0.0) == 4 * (2 * 23 + 10 * 8)
    assert _needed(100, optimizer="adam") == 4 * (4 * 23 + 10 * 8)
    assert _needed(6, momentum=0.9) == 4 * (3 * 23 + 6 * 8)


def test_frozen_weights_need_no_gradients_or_moments() -> None:
    """15 of the 23 weights and biases are frozen: they take 4 bytes each."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    net[1].requires_grad_(False)
    config = TrainingConfig(batch_size=10, momentum=0.9)
    assert DeviceMemory(config, (1, 2, 2)).needed_bytes(FlatModule(net), 100) == 4 * (3 * 8 + 15 + 10 * 8)


def test_memory_counts_the_largest_batch() -> None:
    config, flat = TrainingConfig(batch_size=10, momentum=0.9), FlatModule(nn.Sequential(*NET))
    for smallest, num_in_batch in ((1, 10), (2, 11)):
        memory = DeviceMemory(config, (1, 2, 2), smallest)
        assert memory.needed_bytes(flat, 31) == 4 * (3 * 23 + num_in_batch * 8)
        assert memory.needed_bytes(flat, 32) == 4 * (3 * 23 + 10 * 8)


def test_task_fits_exactly_or_raises_with_both_sizes() -> None:
    memory = DeviceMemory(TrainingConfig(batch_size=10, momentum=0.9), (1, 2, 2))
    flat = FlatModule(nn.Sequential(*NET))
    memory.require(DEVICE, {flat}, 100)
    memory.require(replace(DEVICE, memory_bytes=596), {flat}, 100)
    with pytest.raises(DeviceMemoryError) as caught:
        memory.require(replace(DEVICE, memory_bytes=595), {flat}, 100)
    assert (caught.value.profile, caught.value.num_values) == ("default", 23)
    assert (caught.value.needed_bytes, caught.value.memory_bytes) == (596, 595)


def _with_memory(experiment: Experiment, memory_bytes: int) -> Experiment:
    """The same experiment on devices with this memory."""
    population = population_of([replace(DEVICE, memory_bytes=memory_bytes)], [0] * 8)
    algorithm = type(experiment.algorithm)(
        experiment.config.algorithm, replace(experiment.setting, population=population)
    )
    return replace(experiment, algorithm=algorithm)


_HALF = ("algorithm.ratio_policy=fixed", "algorithm.ratio=0.5")


@pytest.mark.parametrize(
    ("name", "options", "fits"),
    [
        ("fedavg", (), False),
        ("heterofl", _HALF, True),
        ("fedlps", (*_HALF, "algorithm.pattern=learned"), True),
        ("fedlps", (*_HALF, "algorithm.pattern=magnitude"), True),
        ("fedlps", (*_HALF, "algorithm.pattern=random"), True),
    ],
)
def test_full_model_fails_on_a_small_device_and_a_submodel_fits(
    name: str, options: tuple[str, ...], fits: bool
) -> None:
    """The digits' perceptron has 34,110 weights; HeteroFL and FedLPS train half of its units."""
    experiment = prepared((f"algorithm.name={name}", *options))
    whole = DeviceMemory(experiment.config.training, experiment.dataset.input_shape).needed_bytes(
        experiment.new_model(), 1000
    )
    experiment = _with_memory(experiment, int(whole) - 1)
    state = initial_state(experiment)
    broadcast = Broadcast.of(experiment, state)
    (task, *_) = experiment.algorithm.plan(state, 0, cohort(experiment, 0)).tasks
    request = broadcast.request(task, experiment.algorithm.init_client(task.client_id))
    outcome = ClientRunner(experiment).run(
        task, broadcast.message.buffer, request.unicast, request.client_state
    )
    assert isinstance(outcome, ClientFailure) == (not fits)
    if isinstance(outcome, ClientFailure):
        assert (outcome.stage, outcome.client_id) == ("train", task.client_id)
        assert "34,110 values" in outcome.cause
