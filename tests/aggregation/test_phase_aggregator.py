"""The aggregator of a phase follows `aggregation.rule` and the average of the method."""

import pytest
import torch

from orchestrator.aggregation.phase_aggregator import phase_aggregator
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.robust.aggregator import RobustAggregator
from tests.support.kept_updates import sent
from tests.support.runs import prepared


def test_default_is_the_average_of_the_method() -> None:
    assert type(phase_aggregator(prepared())) is AGGREGATORS["wmean"]
    assert type(phase_aggregator(prepared("algorithm.name=fedspa"))) is AGGREGATORS["dmean"]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("fedavg", 3.0), ("fedspa", 12.0)],
)
def test_rule_replaces_the_average(method: str, expected: float) -> None:
    """Values 2, 3 and 50 from the start 1; FedSpa adds the middle change, 2, to the server's 10."""
    aggregator = phase_aggregator(prepared(f"algorithm.name={method}", "aggregation.rule=median"))
    assert isinstance(aggregator, RobustAggregator)
    for value in (2.0, 3.0, 50.0):
        aggregator.add(sent([value], start=1.0))
    assert aggregator.finish(torch.tensor([10.0])).values.tolist() == [expected]
