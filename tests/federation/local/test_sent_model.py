"""The model that a client sends, entry by entry, by hand; tests/execution/adversary runs every method."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, pack_model
from orchestrator.federation.local.sent_model import sent_model
from orchestrator.sparsity.payload import Dense, Scalar
from tests.support.fakes import make_run, make_setting, random_data, seeded

SHAPE = (1, 1, 3)


def _net() -> nn.Module:
    """Three maskable weights and one bias."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 1))


def _task(mask: list[int] | None) -> tuple[Algorithm[ServerState, None], CheckedRun]:
    """A task that received the values 1, 2, 3, 4, under a mask of the four entries."""
    flat = seeded(_net)
    held = None if mask is None else torch.tensor(mask, dtype=torch.bool)
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    received = ModelValues(values if held is None else values * held, held)
    setting = make_setting(flat, SHAPE)
    run = make_run(setting, flat, random_data(2, SHAPE, 1), received=received)
    return Algorithm(AlgorithmConfig(), setting), run


def test_dense_model_has_all_entries() -> None:
    algorithm, run = _task(None)
    item = pack_model(run.layout, torch.arange(4.0), None)
    found = sent_model(algorithm, run, (item,), None)
    assert found is not None
    assert found.item is item
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.start.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_masked_model_has_the_entries_of_its_own_mask() -> None:
    """The client received entries 0 and 3, and sends 1 and 3: it received nothing at 1."""
    algorithm, run = _task([1, 0, 0, 1])
    item = pack_model(run.layout, torch.arange(4.0), torch.tensor([False, True, False, True]))
    found = sent_model(algorithm, run, (item,), None)
    assert found is not None
    assert found.index.tolist() == [1, 3]
    assert found.start.tolist() == [0.0, 4.0]


def test_submodel_has_the_order_of_its_index() -> None:
    algorithm, run = _task(None)
    run.index = torch.tensor([2, 0])
    found = sent_model(algorithm, run, (Dense(MODEL_ITEM, np.array([7.0, 8.0], np.float32)),), None)
    assert found is not None
    assert found.start.tolist() == [3.0, 1.0]


def test_payload_without_a_model_has_none() -> None:
    algorithm, run = _task(None)
    assert sent_model(algorithm, run, (Scalar("loss", 1.0),), None) is None


def test_task_without_a_model_is_an_error() -> None:
    algorithm, run = _task(None)
    run.received = None
    with pytest.raises(ValueError, match="came without a model"):
        sent_model(algorithm, run, (Dense(MODEL_ITEM, np.zeros(4, np.float32)),), None)
