"""Personal parts: which entries travel, and which stay with the client."""

from typing import final

import pytest
import torch
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import WireError
from orchestrator.federation.bases.personal_part import PersonalPart, PersonalPartAlgorithm
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import make_run, make_setting, random_data, seeded
from tests.support.nets import hidden_mlp

SHAPE = (1, 3, 3)
TASK = ClientTask(round_idx=0, position=0, client_id=0)


@final
class OddEntries(PersonalPartAlgorithm):
    """Clients keep the entries with an odd position."""

    @property
    def body_mask(self) -> Tensor:
        return torch.arange(self.setting.layout.size) % 2 == 0


def _made() -> tuple[OddEntries, Tensor]:
    flat = seeded(hidden_mlp)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 1})
    return OddEntries(AlgorithmConfig(name="odd"), setting), flat.values.clone()


def test_client_starts_with_its_own_entries_and_the_body_of_the_server() -> None:
    """55 entries: 28 at even positions, 27 at odd ones."""
    algorithm, initial = _made()
    own = algorithm.init_client(0)
    assert torch.equal(own.values, initial[1::2])
    flat = seeded(hidden_mlp)
    received = ModelValues(torch.full((55,), 7.0), algorithm.body_mask)
    run = make_run(algorithm.setting, flat, random_data(8, SHAPE, 3), received=received, state=own)
    algorithm.load(run)
    assert run.values[::2].tolist() == [7.0] * 28
    assert torch.equal(run.values[1::2], initial[1::2])


def test_body_travels_and_the_rest_is_the_new_client_state() -> None:
    algorithm, initial = _made()
    (sent,) = algorithm.broadcast(algorithm.init(initial))
    assert isinstance(sent, Dense)
    assert sent.values.tolist() == initial[::2].tolist()
    run = make_run(
        algorithm.setting,
        seeded(hidden_mlp),
        random_data(8, SHAPE, 3),
        received=algorithm.unpack((sent,), TASK, algorithm.init_client(0)),
        state=algorithm.init_client(0),
    )
    result = algorithm.client_update(run)
    (item,) = result.payload
    assert isinstance(item, Dense)
    assert item.values.tolist() == run.values[::2].tolist()
    assert isinstance(result.client_state, PersonalPart)
    assert result.client_state.values.tolist() == run.values[1::2].tolist()
    assert not torch.equal(run.values[1::2], initial[1::2])


def test_body_of_another_size_is_rejected() -> None:
    algorithm, initial = _made()
    with pytest.raises(WireError, match="28"):
        algorithm.unpack((Dense(MODEL_ITEM, initial[:27].numpy()),), TASK, algorithm.init_client(0))
