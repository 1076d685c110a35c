"""Hermes: pruned units, shared and personal parameters, the gate and bytes."""

from dataclasses import replace

import pytest
import torch

from algorithms.hermes import Hermes, HermesClient, HermesState
from orchestrator.contract.rounds import play
from orchestrator.errors import WireError
from orchestrator.federation.exchange import find_bits
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Bits
from tests.support.fakes import experiment

HERMES = {"algorithm.name": "hermes", "data.validation_fraction": 0.3, "algorithm.min_accuracy": 0.0}
TASK = ClientTask(round_idx=0, position=0, client_id=0)


def method(**options: object) -> Hermes:
    algorithm = experiment({**HERMES, **options}).algorithm
    assert isinstance(algorithm, Hermes)
    return algorithm


def test_clients_remove_a_fifth_of_their_units_down_to_half() -> None:
    """200 units: 160, then 128, 103 and 100. 100 units: 80, 64, 52 and 50."""
    rounds = play(experiment({**HERMES, "training.clients_per_round": 8}))
    for played, (first, second) in zip(rounds, [(160, 80), (128, 64), (103, 52), (100, 50)], strict=True):
        for payload, job, update in zip(played.payloads, played.jobs, played.updates, strict=True):
            bits = torch.tensor(find_bits(payload, "units"))
            assert (int(bits[:200].sum()), int(bits[200:].sum())) == (first, second)
            assert not bool((bits & ~job.client_state.units).any())
            assert torch.equal(bits, update.client_state.units)


def test_accuracy_below_the_limit_keeps_all_units() -> None:
    for played in play(experiment({**HERMES, "algorithm.min_accuracy": 1.0}), 2):
        assert all(find_bits(payload, "units").all() for payload in played.payloads)


def test_only_parameters_of_all_participants_are_averaged() -> None:
    run = experiment(HERMES)
    for played in play(run):
        masks = [model.mask for model in played.models if model is not None and model.mask is not None]
        common = torch.stack(masks).all(dim=0)
        assert bool((~common).any())
        assert torch.equal(played.after.params[~common], played.before.params[~common])
        assert not torch.equal(played.after.params[common], played.before.params[common])
        assert isinstance(played.after, HermesState)
        assert torch.equal(method().entries(played.after.shared), common)


def test_personal_parameters_are_never_overwritten() -> None:
    """A client loads the received value where all participants had the parameter, else its own."""
    run = experiment(HERMES)
    last = play(run)[-1]
    for job, received in zip(last.jobs, last.received, strict=True):
        assert received is not None
        assert received.mask is not None
        client = job.client_state
        model = torch.where(received.mask, received.values, client.personal)
        own = ~received.mask & method().entries(client.units)
        assert torch.equal(model[own], client.personal[own])


def test_entries_of_a_group_without_units() -> None:
    """Without units of the first layer, only the second layer's and the last layer's own entries remain."""
    algorithm = method()
    units = torch.ones(300, dtype=torch.bool)
    units[:200] = False
    views = algorithm.setting.layout.views(algorithm.entries(units))
    assert not views["fc1.weight"].any()
    assert not views["fc2.weight"].any()
    assert views["fc2.bias"].all()
    state = algorithm.init(torch.arange(float(algorithm.setting.layout.size)))
    payload = algorithm.broadcast(replace(state, shared=units))
    model = algorithm.unpack(payload, TASK, algorithm.init_client(0))
    assert model is not None
    assert model.mask is not None
    assert torch.equal(model.values[model.mask], state.params[model.mask])


def test_no_pruning_equals_fedavg() -> None:
    """`min_ratio=1` needs no validation samples."""
    ours = play(experiment({"algorithm.name": "hermes", "algorithm.min_ratio": 1}))
    for left, right in zip(ours, play(experiment()), strict=True):
        assert torch.equal(left.after.params, right.after.params)
    assert method().needs_validation


def test_bytes_of_every_message() -> None:
    """4 bytes an entry of a perceptron 64-a-b-10, and the bits of 300 units, in at most 38 bytes."""
    for played in play(experiment(HERMES)):
        for update, payload, down in zip(played.updates, played.payloads, played.download_bytes, strict=True):
            sizes = []
            for bits in (find_bits(payload, "units"), find_bits(played.broadcast.payload, "units")):
                first, second = int(bits[:200].sum()), int(bits[200:].sum())
                sizes.append(12 + 24 + 24 + 4 * (65 * first + (first + 1) * second + (second + 1) * 10))
            assert 0 < update.buffer.nbytes - sizes[0] <= 38
            assert 0 < down - sizes[1] <= 38


@pytest.mark.parametrize("bits", [torch.ones(299, dtype=torch.bool), torch.zeros(300, dtype=torch.bool)])
def test_wrong_units_are_rejected(bits: torch.Tensor) -> None:
    algorithm = method()
    model, _ = algorithm.broadcast(algorithm.init(torch.zeros(algorithm.setting.layout.size)))
    with pytest.raises(WireError):
        algorithm.unpack((model, Bits("units", bits.numpy())), TASK, HermesClient(personal=bits, units=bits))
