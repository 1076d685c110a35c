"""FedDyn: rounds by hand, and the server's correction in a real run."""

import torch

from algorithms.feddyn import FedDyn
from orchestrator.contract.rounds import play
from tests.support.fakes import experiment
from tests.support.quadratics import quadratic_rounds


def test_two_rounds_by_hand() -> None:
    """a = (0, 4), lr 0.5, one step, alpha = 1, w = 1.

    Round 1: w_k = (0.5, 2.5), g_k = (0.5, -1.5), h = -0.5, w = 1.5 + 0.5 = 2.
    Round 2: w_k = (1.25, 2.25), g_k = (1.25, -1.75), h = -0.25, w = 1.75 + 0.25 = 2.
    """
    options = {"alpha": 1.0}
    states, clients = quadratic_rounds(FedDyn, options, minima=(0.0, 4.0), num_rounds=2, lr=0.5, num_steps=1)
    assert [float(state.params) for state in states] == [2.0, 2.0]
    assert [float(state.correction) for state in states] == [-0.5, -0.25]
    assert [float(client.gradient) for client in clients] == [1.25, -1.75]


def test_regulariser_counts_from_the_second_step() -> None:
    """alpha = 2, lr 0.25, client a = 0, w = 1: 1 -> 0.75 -> 0.75 - 0.25 (0.75 + 2 (-0.25)) = 0.6875."""
    states, clients = quadratic_rounds(
        FedDyn, {"alpha": 2.0}, minima=(0.0,), num_rounds=1, lr=0.25, num_steps=2
    )
    assert float(clients[0].gradient) == 2.0 * 0.3125
    assert float(states[0].params) == 0.6875 - 0.3125


def test_correction_is_the_mean_of_all_clients_gradients() -> None:
    """h = sum of g_k / N after every round, although only some clients participate."""
    run = experiment({"algorithm.name": "feddyn"})
    states = {k: run.algorithm.init_client(k) for k in range(8)}
    for recorded in play(run):
        states |= recorded.client_states
        mean = torch.stack([client.gradient for client in states.values()]).to(torch.float64).mean(0)
        assert float(mean.abs().max()) > 0
        assert torch.allclose(recorded.after.correction, mean, rtol=0, atol=1e-6)
