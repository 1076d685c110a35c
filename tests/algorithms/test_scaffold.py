"""SCAFFOLD: rounds by hand, and the control variates of a real run."""

import numpy as np
import pytest
import torch

from algorithms.scaffold import CONTROL, Scaffold
from orchestrator.contract.rounds import play
from orchestrator.errors import WireError
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.item_form import require_forms
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import experiment
from tests.support.quadratics import quadratic_rounds

SCAFFOLD = {"algorithm.name": "scaffold"}
MODEL = (Dense(MODEL_ITEM, np.zeros(3, np.float32)),)


def test_three_rounds_by_hand() -> None:
    """a = (0, 4), lr 0.5, two steps, w = 1: the first round is FedAvg, (0.25 + 3.25) / 2 = 1.75."""
    states, _ = quadratic_rounds(Scaffold, {}, minima=(0.0, 4.0), num_rounds=3, lr=0.5, num_steps=2)
    assert [float(state.params) for state in states] == [1.75, 1.9375, 1.984375]


def test_control_variates_are_the_mean_gradients_of_the_steps() -> None:
    """From w = 1: client 0 has the gradients 1 and 0.5, client 1 has -3 and -1.5; c is their mean."""
    states, clients = quadratic_rounds(Scaffold, {}, minima=(0.0, 4.0), num_rounds=1, lr=0.5, num_steps=2)
    assert [float(client.control) for client in clients] == [0.75, -2.25]
    assert float(states[0].control) == -0.75


def test_server_lr_scales_the_step() -> None:
    """Half of the way from 1 to 1.75."""
    options = {"server_lr": 0.5}
    states, _ = quadratic_rounds(Scaffold, options, minima=(0.0, 4.0), num_rounds=1, lr=0.5, num_steps=2)
    assert float(states[0].params) == 1.375


@pytest.mark.parametrize("wire", ["float32", "float16"])
def test_server_control_is_the_mean_of_all_clients_controls(wire: str) -> None:
    """N c = sum of c_k over all clients after every round, although only some clients participate."""
    run = experiment({**SCAFFOLD, "wire.value_dtype": wire, "training.momentum": 0.9})
    rounds = play(run)
    states = {k: run.algorithm.init_client(k) for k in range(8)}
    for recorded in rounds:
        states |= recorded.client_states
        total = torch.stack([client.control for client in states.values()]).to(torch.float64).sum(0)
        assert float(total.abs().max()) > 0
        assert torch.allclose(8 * recorded.after.control, total, rtol=0, atol=1e-5)


def test_both_directions_carry_a_second_vector() -> None:
    """Twice FedAvg's bytes, up to the headers of the items."""
    sizes = {}
    for name in ("fedavg", "scaffold"):
        first = play(experiment({"algorithm.name": name}), 1)[0]
        sizes[name] = (first.updates[0].buffer.nbytes, first.download_bytes[0])
    for dense, controlled in zip(sizes["fedavg"], sizes["scaffold"], strict=True):
        assert 2 * dense - 64 <= controlled <= 2 * dense + 64


@pytest.mark.parametrize("items", [(), (Dense(CONTROL, torch.zeros(3).numpy()),)])
def test_updates_without_a_whole_control_are_rejected(items: tuple[Dense, ...]) -> None:
    algorithm = experiment(SCAFFOLD).algorithm
    with pytest.raises(WireError):
        require_forms(
            (*MODEL, *items), algorithm.upload_items(ClientTask(round_idx=0, position=0, client_id=0))
        )
