"""FedDST's server step by hand: a layer of 2 x 4 weights, of which 4 are kept, and 2 biases."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from algorithms.feddst import FedDST, FedDSTConfig
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from tests.support.fakes import make_setting, seeded

Client = tuple[float, Sequence[float], Sequence[int]]


def method() -> FedDST:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    setting = make_setting(flat, (1, 2, 2), sparsity={"level": 0.5, "allocation": "uniform"})
    return FedDST(FedDSTConfig(name="feddst", alpha=0.1), setting)


def step(clients: Sequence[Client], server: Sequence[float] = (0.0,) * 10) -> tuple[list[float], list[int]]:
    """Next parameters and mask after clients of (examples, 8 weights, mask). Biases are 0."""
    algorithm = method()
    state = ServerState(params=torch.tensor(server), mask=torch.ones(10, dtype=torch.bool))
    aggregator = algorithm.aggregator()
    for weight, values, mask in clients:
        held = torch.tensor([*mask, 1, 1], dtype=torch.bool)
        vector = torch.tensor([*values, 0.0, 0.0]) * held
        aggregator.add(Contribution(client_id=0, weight=weight, values=vector, mask=held, start=state.params))
    after = algorithm.server_update(state, aggregator.finish(state.params), 1)
    assert after.mask is not None
    assert after.mask[8:].tolist() == [True, True]
    return after.params[:8].tolist(), after.mask[:8].int().tolist()


def test_weights_are_averaged_over_clients_that_have_them_and_the_largest_are_kept() -> None:
    """Examples 1 and 3.

    Both clients have 0 and 1: (4 + 3 * 8) / 4 = 7, and 0. One client has 5, -6, 1 and 2. Kept: 7, 5, -6, 2.
    """
    params, mask = step(
        [
            (1, [4, 3, 5, -6, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]),
            (3, [8, -1, 0, 0, 1, 2, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0]),
        ]
    )
    assert params == [7, 0, 5, -6, 0, 2, 0, 0]
    assert mask == [1, 0, 1, 1, 0, 1, 0, 0]


def test_only_the_union_is_ranked() -> None:
    """Large weights of the server that no client kept are not ranked."""
    params, mask = step([(2, [1, 2, 3, 4, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0])], [9.0] * 10)
    assert params == [1, 2, 3, 4, 0, 0, 0, 0]
    assert mask == [1, 1, 1, 1, 0, 0, 0, 0]


def test_ties_go_to_the_larger_coverage_and_then_to_the_lower_index() -> None:
    """All weights have size 2.

    Both clients have 6 and 7, the client with 3 examples has 5, the client with 1 has 0 and 4.
    """
    params, mask = step(
        [
            (1, [2, 0, 0, 0, 2, 0, 2, -2], [1, 0, 0, 0, 1, 0, 1, 1]),
            (3, [0, 0, 0, 0, 0, 2, 2, -2], [0, 0, 0, 0, 0, 1, 1, 1]),
        ]
    )
    assert mask == [1, 0, 0, 0, 0, 1, 1, 1]
    assert params == [2, 0, 0, 0, 0, 2, 2, -2]


def test_grown_zero_stays_only_within_the_layer_target() -> None:
    """The union has five weights.

    Two grown zeros compete for one place, which goes to the larger coverage.
    """
    _, mask = step(
        [
            (1, [5, 4, 3, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]),
            (3, [5, 4, 3, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0]),
        ]
    )
    assert mask == [1, 1, 1, 0, 1, 0, 0, 0]


def test_union_below_the_target_is_not_filled() -> None:
    params, mask = step([(1, [1, 0, 0, 3, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0])], [7.0] * 10)
    assert mask == [1, 0, 0, 1, 0, 0, 0, 0]
    assert params == [1, 0, 0, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("swap", [False, True])
def test_order_of_clients_does_not_matter(swap: bool) -> None:
    clients: list[Client] = [
        (1, [4, 3, 5, -6, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]),
        (3, [8, -1, 0, 0, 1, 2, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0]),
    ]
    assert step(clients[::-1] if swap else clients) == step(clients)


def test_old_state_does_not_change() -> None:
    algorithm = method()
    params, mask = torch.arange(10, dtype=torch.float32), torch.ones(10, dtype=torch.bool)
    state = ServerState(params=params.clone(), mask=mask.clone())
    aggregator = algorithm.aggregator()
    aggregator.add(Contribution(client_id=0, weight=1, values=torch.ones(10), mask=mask, start=params))
    algorithm.server_update(state, aggregator.finish(state.params), 0)
    assert torch.equal(state.params, params)
    assert state.mask is not None
    assert torch.equal(state.mask, mask)


def test_server_metrics_report_pruned_weights() -> None:
    """The old mask has 0-3, the clients have 0, 1, 4 and 0, 1, 5.

    The union has 4 weights: all 4 are kept, 2 of them new, none is removed.
    """
    algorithm = method()
    before = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 1, 1], dtype=torch.bool)
    state = ServerState(params=torch.zeros(10), mask=before)
    aggregator = algorithm.aggregator()
    for grown in (4, 5):
        held = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=torch.bool)
        held[grown] = True
        aggregator.add(
            Contribution(client_id=0, weight=1.0, values=held * 2.0, mask=held, start=state.params)
        )
    aggregate = aggregator.finish(state.params)
    after = algorithm.server_update(state, aggregate, 1)
    assert algorithm.server_metrics(state, aggregate, after) == {
        "sparsity/union": 4 / 8,
        "sparsity/new_survivors": 2 / 8,
        "sparsity/removed": 0.0,
    }
