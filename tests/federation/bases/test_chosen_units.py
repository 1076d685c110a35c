"""Submodels whose units the message names: packing, scattering and wrong payloads."""

from typing import final

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import WireError
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.bases.chosen_units import UNIT_BITS, ChosenUnitsAlgorithm
from orchestrator.federation.plan import ClientTask
from orchestrator.models.units.tracing import trace_units
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import make_run, make_setting, random_data, seeded

SHAPE = (1, 1, 2)
TASK = ClientTask(round_idx=0, position=0, client_id=0)
#: entries of `net` for the second of its two hidden units
SECOND = [2, 3, 5, 7, 9, 10, 11]


@final
class Chosen(ChosenUnitsAlgorithm[ServerState, None]):
    """The base as it is."""


def net() -> nn.Module:
    """2 inputs, 2 hidden units, 2 classes: weights 0-3, biases 4-5, weights 6-9, biases 10-11."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


def method() -> Chosen:
    flat = seeded(net)
    units = trace_units(flat.module, torch.zeros(2, *SHAPE))
    return Chosen(AlgorithmConfig(name="chosen"), make_setting(flat, SHAPE, units=units))


def test_units_are_sent_with_their_bits_and_placed_in_the_full_vector() -> None:
    algorithm = method()
    (group,) = algorithm.setting.units
    values = torch.arange(12.0)
    payload = algorithm.pack_units(values, {group.name: torch.tensor([1])})
    assert [type(item) for item in payload] == [Dense, Bits]
    assert payload[1].bits.tolist() == [False, True]
    model = algorithm.unpack(payload, TASK, None)
    assert model is not None
    assert model.mask is not None
    assert model.mask.nonzero().squeeze(1).tolist() == SECOND
    assert model.values[SECOND].tolist() == [float(i) for i in SECOND]
    assert float(model.values.sum()) == sum(SECOND)


def test_client_trains_and_returns_the_units_of_its_download() -> None:
    algorithm = method()
    (group,) = algorithm.setting.units
    download = algorithm.pack_units(torch.arange(12.0), {group.name: torch.tensor([1])})
    run = make_run(
        algorithm.setting,
        seeded(net),
        random_data(4, SHAPE, 2),
        received=algorithm.unpack(download, TASK, None),
        payload=download,
    )
    algorithm.load(run)
    assert run.values.tolist() == [float(i) for i in SECOND]
    upload = algorithm.pack(run)
    assert [item.name for item in upload] == ["theta", UNIT_BITS]
    assert algorithm.upload_items(TASK)[UNIT_BITS].size == algorithm.num_units == 2


def test_payload_without_bits_has_the_whole_model() -> None:
    algorithm = method()
    model = algorithm.unpack((Dense("theta", np.arange(12, dtype=np.float32)),), TASK, None)
    assert model is not None
    assert model.mask is None
    assert algorithm.unpack((), TASK, None) is None


@pytest.mark.parametrize(("size", "bits"), [(6, [False, True]), (7, [False, False]), (7, [True])])
def test_values_that_do_not_fit_the_units_are_rejected(size: int, bits: list[bool]) -> None:
    payload = (Dense("theta", np.zeros(size, np.float32)), Bits(UNIT_BITS, np.array(bits)))
    with pytest.raises(WireError):
        method().unpack(payload, TASK, None)
