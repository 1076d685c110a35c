"""Personal heads: messages, client states, and rejected options."""

from typing import Any

import pytest
import torch

from algorithms.fedper import FedPer
from algorithms.fedrep import FedRep
from orchestrator.contract.rounds import play
from orchestrator.errors import ConfigError
from orchestrator.federation.bases.personal_head import PersonalHeadConfig
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.models.parameters import FlatModule
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)
TASK = ClientTask(round_idx=0, position=0, client_id=0)


def made(
    kind: type[Any], options: dict[str, object] | None = None, **training: float
) -> tuple[Any, FlatModule]:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, **training})
    return kind(kind.Config.model_validate({"name": "head", **(options or {})}), setting), flat


def test_head_is_the_last_layer_with_its_bias() -> None:
    algorithm, flat = made(FedPer)
    first = next(s for s in flat.layout.segments if s.name == "3.weight")
    assert algorithm.head == slice(first.offset, flat.layout.num_trainable)
    assert algorithm.head.stop - algorithm.head.start == 4 * 3 + 3
    assert int((~algorithm.body_mask).sum()) == 15


@pytest.mark.parametrize("kind", [FedPer, FedRep])
def test_head_is_never_sent(kind: type[Any]) -> None:
    algorithm, flat = made(kind)
    state = algorithm.init(flat.values.clone())
    run = make_run(
        algorithm.setting,
        flat,
        random_data(8, SHAPE, 3),
        received=algorithm.unpack(algorithm.broadcast(state), TASK, algorithm.init_client(0)),
        state=algorithm.init_client(0),
    )
    result = algorithm.client_update(run)
    for payload in (algorithm.broadcast(state), result.payload):
        (item,) = payload
        assert isinstance(item, Dense)
        assert item.values.size == flat.layout.size - 15
    model = algorithm.unpack(result.payload, TASK, algorithm.init_client(0))
    assert torch.equal(model.mask, algorithm.body_mask)
    assert torch.equal(model.values[model.mask], run.values[model.mask])
    assert torch.equal(result.client_state.values, run.values[algorithm.head])
    assert not torch.equal(result.client_state.values, algorithm.init_client(0).values)


def test_client_starts_with_the_body_of_the_server_and_its_own_head() -> None:
    algorithm, flat = made(FedPer)
    received = ModelValues(torch.zeros(flat.layout.size), algorithm.body_mask)
    own = algorithm.init_client(0)
    run = make_run(algorithm.setting, flat, random_data(8, SHAPE, 3), received=received, state=own)
    algorithm.personal(run)
    assert torch.equal(run.values[algorithm.head], own.values)
    assert int(run.values[algorithm.body_mask].count_nonzero()) == 0


def test_head_of_the_whole_model_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        made(FedPer, {"head_layers": 2})
    assert (caught.value.field, caught.value.value) == ("algorithm.head_layers", 2)


@pytest.mark.parametrize("name", ["fedper", "fedrep"])
def test_server_keeps_its_own_head(name: str) -> None:
    run = experiment({"algorithm.name": name})
    head = run.algorithm.head
    last = play(run, 2)[-1]
    initial = torch.from_numpy(run.setting.initial)
    assert torch.equal(last.after.params[head], initial[head])
    assert not torch.equal(last.after.params, initial)
    heads = {client: state.values for client, state in last.client_states.items()}
    assert len({values.numpy().tobytes() for values in heads.values()}) > 1


def test_options_reject_a_negative_head() -> None:
    with pytest.raises(ValueError, match="head_layers"):
        PersonalHeadConfig(name="fedper", head_layers=-1)
