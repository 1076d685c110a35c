"""FedLPS's importance: its start, its training together with the weights, and the units that it selects."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.support.fedlps_client import PARTS, Client, vector

#: units of L1 norm 1, 2, 3, 4; standardised -1.341641, -0.447214, 0.447214, 1.341641
RISING = vector(torch.arange(1.0, 5.0)[:, None].expand(4, 9) / 9, torch.zeros(3, 4))


def test_importance_starts_at_zero_so_that_all_clients_choose_the_same_units() -> None:
    for client_id in range(3):
        client = Client(received=RISING, client_id=client_id).loaded()
        assert client.importance.tolist() == [0.0] * 4
        assert client.units == [2, 3]


def test_units_are_ranked_by_importance_and_norms_of_the_received_model() -> None:
    """Values of q + pi n for pi = 0, 1 and 3.

    They are [3, 1, 2, 0], [1.66, 0.55, 2.45, 1.34] and [-1.02, -0.34, 3.34, 4.02].
    """
    importance = {"1": torch.tensor([3.0, 1.0, 2.0, 0.0])}
    for prior, units in ((0.0, [0, 2]), (1.0, [0, 2]), (3.0, [2, 3])):
        fresh = Client(received=RISING)
        state = replace(fresh.run.state, importance=importance, num_trained=1)
        client = Client(received=RISING, state=state, prior=prior).loaded()
        assert client.units == units
        assert client.importance.tolist() == [3.0, 1.0, 2.0, 0.0]


def gate_slopes(client: Client) -> Tensor:
    """float64[4]: the sum of dL/dg over the steps of plain SGD on the kept units, with gates as variables."""
    kept, values = client.units, client.run.start.double()
    w1, b1, w2, b2 = torch.split(values, list(PARTS))
    params = [w1.view(4, 9)[kept], b1[kept], w2.view(3, 4)[:, kept], b2]
    slopes = torch.zeros(4, dtype=torch.float64)
    for epoch in client.run.batches():
        for images, labels in epoch:
            params = [p.detach().clone().requires_grad_() for p in params]
            gates = torch.ones(len(kept), dtype=torch.float64, requires_grad=True)
            hidden = torch.relu(images.flatten(1).double() @ params[0].T + params[1]) * gates
            loss = cross_entropy(hidden @ params[2].T + params[3], labels)
            *gradients, by_gate = torch.autograd.grad(loss, [*params, gates])
            slopes[kept] += by_gate
            params = [p - 0.1 * g for p, g in zip(params, gradients, strict=True)]
    return slopes


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(("lr", "decay"), [(1.0, 0.0), (3.0, 0.25), (0.0, 0.25)])
def test_importance_follows_the_gates_of_every_step_and_decays(epochs: int, lr: float, decay: float) -> None:
    """q (1 - d) - eta sum dL/dg; a dropped unit only decays. Batches of 4 of the 12 images."""
    before = torch.tensor([0.4, -0.2, 1.0, 0.1])
    state = replace(Client().run.state, importance={"1": before})
    options = {"importance_lr": lr, "importance_decay": decay, "prior": 0.0}
    client = Client(state=state, training={"local_epochs": epochs}, **options).loaded()
    assert client.units == [0, 2]
    slopes = gate_slopes(client)
    client.method.client_update(client.run)
    expected = (1.0 - decay) * before.double() - lr * slopes
    assert client.importance.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)
    assert float(slopes[[0, 2]].abs().min()) > 1e-3


def test_dropped_unit_returns_after_the_importance_of_a_kept_unit_falls() -> None:
    """With eta = 0 each task halves q. The standardised norms are -0.577 for all units but unit 1, which has 1.732.

    q + n is [7.42, 1.73, 3.42, -0.58], then [3.42, 1.73, 1.42, -0.58], then [1.42, 1.73, 0.42, -0.58].
    """
    strong_one = vector(torch.tensor([1.0, 2.0, 1.0, 1.0])[:, None].expand(4, 9), torch.zeros(3, 4))
    state = replace(Client().run.state, importance={"1": torch.tensor([8.0, 0.0, 4.0, 0.0])})
    options = {"importance_lr": 0.0, "importance_decay": 0.5, "prior": 1.0}
    seen = []
    for round_idx in range(3):
        client = Client(received=strong_one, state=state, round_idx=round_idx, **options)
        client.method.client_update(client.run)
        seen.append(client.units)
        state = client.run.state
    assert seen == [[0, 2], [0, 1], [0, 1]]


@pytest.mark.parametrize("pattern", ["magnitude", "ordered", "random"])
def test_other_patterns_learn_no_importance(pattern: str) -> None:
    client = Client(pattern=pattern, training={"local_epochs": 3}).loaded()
    units = client.units
    client.method.client_update(client.run)
    assert client.importance.tolist() == [0.0] * 4
    assert client.units == units
