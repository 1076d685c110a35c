"""A run that counts its steps, and detects weights outside the mask after a step."""

import pytest
import torch
from torch import nn

from orchestrator.contract.checked_run import CheckedRun, checked_run
from orchestrator.contract.experiment import contract_experiment
from orchestrator.contract.rounds import recorded_rounds
from orchestrator.federation.exchange import ModelValues
from tests.support.fakes import make_run, make_setting, random_data, seeded


def _masked_run() -> CheckedRun:
    """9 weights and 3 biases, of which weights 0-2 are masked; five images in batches of two, two epochs."""
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3)))
    mask = torch.ones(30, dtype=torch.bool)
    mask[:3] = False
    setting = make_setting(flat, (1, 3, 3), training={"batch_size": 2, "local_epochs": 2})
    received = ModelValues(flat.values * mask, mask)
    run = make_run(setting, flat, random_data(5, (1, 3, 3), 3), received=received)
    run.load(run.start, mask)
    return run


def test_steps_are_counted_over_all_epochs() -> None:
    run = _masked_run()
    for epoch in run.batches():
        for batch in epoch:
            run.backward(batch)
            run.apply_gradient()
    assert run.num_steps == 6


def test_weight_outside_the_mask_is_detected_before_the_next_batch() -> None:
    run = _masked_run()
    epoch = next(run.batches())
    next(epoch)
    run.values[1] = 0.5
    with pytest.raises(AssertionError, match="step 1 gave 1 weight outside"):
        next(epoch)


def test_weights_of_a_dense_model_are_not_checked() -> None:
    run = _masked_run()
    run.set_mask(None)
    for batch in next(run.batches()):
        run.values.fill_(1.0)
        assert len(batch[1]) <= 2
    assert run.num_steps == 3


def test_recorded_task_is_repeated_on_copies_of_its_tensors() -> None:
    experiment = contract_experiment("randommask")
    recorded = recorded_rounds(experiment)[0]
    run = checked_run(experiment, recorded, 1)
    assert run.task is recorded.jobs[1].task
    received = recorded.received[1]
    assert run.received is not None
    assert received is not None
    assert received.mask is not None
    before = received.values.clone()
    run.received.values.add_(1.0)
    assert torch.equal(received.values, before)
    assert run.received.mask is not received.mask


def test_repeated_task_gives_the_recorded_update() -> None:
    experiment = contract_experiment("fedavg")
    recorded = recorded_rounds(experiment)[0]
    run = checked_run(experiment, recorded, 2)
    result = experiment.algorithm.client_update(run)
    model = recorded.models[2]
    assert model is not None
    assert torch.equal(run.values, model.values)
    assert result.num_examples == recorded.updates[2].num_examples
