"""Robust rules in the place of each average: what they reduce to, which coordinates change, and further items."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.robustness import AggregationConfig, RuleName
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, AggregationName, Contribution
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar
from tests.support.kept_updates import combined, sent

AVERAGES: tuple[AggregationName, ...] = ("wmean", "covmean", "dmean", "ipart")
RULES: tuple[RuleName, ...] = ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median")
#: rules that leave nothing out
NEUTRAL = (
    AggregationConfig(rule="trimmed_mean", attacker_share=0.0),
    AggregationConfig(rule="multi_krum", attacker_share=0.0),
    AggregationConfig(rule="multi_krum", num_selected=5),
)


def _mean(name: AggregationName, contributions: list[Contribution], server: torch.Tensor) -> Aggregate:
    aggregator = AGGREGATORS[name]()
    for one in contributions:
        aggregator.add(one)
    return aggregator.finish(server)


_VALUES = st.lists(st.floats(-5.0, 5.0, width=32), min_size=4, max_size=4)
_MASKS = st.lists(st.integers(0, 1), min_size=4, max_size=4)


@pytest.mark.parametrize("config", NEUTRAL, ids=lambda c: f"{c.rule}-{c.attacker_share}")
@pytest.mark.parametrize("average", AVERAGES)
@settings(max_examples=20, deadline=None)
@given(values=st.lists(_VALUES, min_size=5, max_size=5), mask=_MASKS)
def test_rule_that_leaves_nothing_out_is_the_average(
    average: AggregationName, config: AggregationConfig, values: list[list[float]], mask: list[int]
) -> None:
    """With one mask for all clients. The weights differ."""
    updates = [sent(v, mask, weight=float(k + 1), start=0.5) for k, v in enumerate(values)]
    server = torch.full((4,), 0.5)
    expected = _mean(average, updates, server)
    found = combined(config, updates, average=average, server=server)
    torch.testing.assert_close(found.values, expected.values, rtol=0.0, atol=1e-6)
    assert found.coverage is not None
    assert expected.coverage is not None
    torch.testing.assert_close(found.coverage, expected.coverage)
    assert found.total_weight == expected.total_weight


@pytest.mark.parametrize("config", NEUTRAL, ids=lambda c: f"{c.rule}-{c.attacker_share}")
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(_VALUES, _MASKS), min_size=5, max_size=5))
def test_rule_that_leaves_nothing_out_is_the_coverage_mean_under_any_masks(
    config: AggregationConfig, rows: list[tuple[list[float], list[int]]]
) -> None:
    if config.rule == "multi_krum":  # needs a common coordinate of any two clients
        rows = [(values, [1, *mask[1:]]) for values, mask in rows]
    updates = [sent(values, mask, weight=float(k + 1)) for k, (values, mask) in enumerate(rows)]
    server = torch.full((4,), 0.5)
    expected = _mean("covmean", updates, server)
    found = combined(config, updates, server=server)
    torch.testing.assert_close(found.values, expected.values, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("average", AVERAGES)
def test_identical_updates_give_the_mean(average: AggregationName, rule: RuleName) -> None:
    updates = [sent([0.1, -2.0, 3.7], weight=float(k + 1), start=0.3) for k in range(5)]
    found = combined(AggregationConfig(rule=rule), updates, average=average, server=torch.full((3,), 0.3))
    torch.testing.assert_close(
        found.values, torch.tensor([0.1, -2.0, 3.7], dtype=torch.float64), rtol=0.0, atol=1e-6
    )
    assert found.coverage is None


@pytest.mark.parametrize("rule", RULES)
def test_one_attacker_does_not_move_the_result_far(rule: RuleName) -> None:
    """Four honest updates are within 0 and 3. The mean of all five would be more than 199."""
    updates = [sent([float(x), -float(x)]) for x in (0, 1, 2, 3, 1000)]
    found = combined(AggregationConfig(rule=rule, **_iterations(rule)), updates)
    assert 0.0 <= float(found.values[0]) <= 3.0
    assert float(found.values[0]) == -float(found.values[1])


def _iterations(rule: RuleName) -> dict[str, int]:
    return {"iterations": 100} if rule == "geometric_median" else {}


def test_change_is_added_to_the_servers_model() -> None:
    """dmean: the changes are 1, 2 and 9, and the server has 10; the clients started from 5."""
    updates = [sent([x], start=5.0) for x in (6.0, 7.0, 14.0)]
    found = combined(AggregationConfig(rule="median"), updates, average="dmean", server=torch.tensor([10.0]))
    assert found.values.tolist() == [12.0]


def test_coordinate_without_all_clients_keeps_the_servers_value_under_ipart() -> None:
    updates = [sent([1.0, 1.0]), sent([2.0, 2.0], [1, 0]), sent([9.0, 9.0])]
    server = torch.tensor([0.0, -1.0])
    assert combined(
        AggregationConfig(rule="median"), updates, average="ipart", server=server
    ).values.tolist() == [2.0, -1.0]


@pytest.mark.parametrize("average", AVERAGES)
def test_coordinate_without_a_client_keeps_the_servers_value(average: AggregationName) -> None:
    updates = [sent([x, x], [1, 0]) for x in (1.0, 2.0, 9.0)]
    found = combined(
        AggregationConfig(rule="median"), updates, average=average, server=torch.tensor([0.0, -7.0])
    )
    assert found.values.tolist() == [2.0, -7.0]
    assert found.coverage is not None
    assert found.coverage.tolist() == [3.0, 0.0]
    assert found.union is not None
    assert found.union.tolist() == [True, False]


def test_krum_leaves_coordinates_of_other_clients_to_the_server() -> None:
    """Client 1 is closest to the others on the first coordinate, and does not hold the second."""
    values = (0.0, 1.0, 2.0, 4.0, 50.0)
    updates = [sent([x, x], [1, int(x != 1.0)], weight=float(k + 1)) for k, x in enumerate(values)]
    found = combined(AggregationConfig(rule="krum"), updates, server=torch.tensor([-1.0, -7.0]))
    assert found.values.tolist() == [1.0, -7.0]
    assert found.coverage is not None
    assert found.coverage.tolist() == [2.0, 0.0]
    assert (found.total_weight, found.num_updates) == (2.0, 5)


def test_further_items_are_combined_by_the_rule() -> None:
    updates = [
        sent(
            [0.0],
            client_id=k,
            items=(
                Dense("control", np.array([x, -x], np.float32)),
                Bits("bits", np.array([x > 1.0])),
                Scalar("loss", x),
                Masked("growth", np.array([x], np.float32), np.array([False, True])),
            ),
        )
        for k, x in enumerate((1.0, 2.0, 90.0))
    ]
    found = combined(AggregationConfig(rule="median"), updates)
    assert {name: value.tolist() for name, value in found.extras.items()} == {
        "control": [2.0, -2.0],
        "bits": [1.0],
        "loss": 2.0,
        "growth": [0.0, 2.0],
    }
    assert found.scalars == {"loss": {0: 1.0, 1: 2.0, 2: 90.0}}


def test_update_without_a_model_leaves_the_servers_values() -> None:
    items = (Dense("scores", np.array([1.0, 5.0], np.float32)),)
    updates = [
        Contribution(client_id=k, weight=1.0, values=None, mask=None, start=torch.zeros(1), items=items)
        for k in range(3)
    ]
    found = combined(AggregationConfig(rule="trimmed_mean"), updates, server=torch.tensor([4.0]))
    assert found.values.tolist() == [4.0]
    assert found.extras["scores"].tolist() == [1.0, 5.0]
    assert found.total_weight == 0.0


def test_nothing_to_combine_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to aggregate"):
        combined(AggregationConfig(rule="median"), [sent([1.0], weight=0.0)])


@pytest.mark.parametrize("rule", ["median", "trimmed_mean"])
def test_slices_are_combined_as_the_whole(rule: RuleName) -> None:
    """Bit for bit, so that aggregators on several processes give the driver's result."""
    rng = np.random.default_rng(3)
    rows = [(rng.normal(size=50).tolist(), rng.integers(0, 2, 50).tolist()) for _ in range(7)]
    config = AggregationConfig(rule=rule)
    whole = combined(config, [sent(v, m, weight=3.3) for v, m in rows]).values
    for cut in (1, 17, 33):
        parts = [
            combined(config, [sent(v[part], m[part], weight=3.3) for v, m in rows]).values
            for part in (slice(0, cut), slice(cut, 50))
        ]
        assert torch.equal(torch.cat(parts), whole)
