"""The aggregator of a phase follows `aggregation.rule` and the average of the method."""

from pathlib import Path

import pytest
import torch

from orchestrator.aggregation.phase_aggregator import phase_aggregator
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.robust.aggregator import RobustAggregator
from orchestrator.tracking.record import read_records
from tests.support.kept_updates import sent
from tests.support.runs import drive, prepared


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


def test_answers_to_probes_are_averaged_as_the_method_does() -> None:
    experiment = prepared("aggregation.rule=median")
    assert type(phase_aggregator(experiment, "probe")) is AGGREGATORS["wmean"]


def test_krum_runs_with_a_method_that_probes_one_client(tmp_path: Path) -> None:
    """SNIP asks one client for its scores, and Krum compares the five updates of the training."""
    options = ("algorithm.name=snip", "aggregation.rule=krum", "training.clients_per_round=5")
    drive(prepared(*options, "training.rounds=1"), tmp_path)
    (record,) = read_records(tmp_path / "metrics.jsonl")
    assert record.metrics["fleet/participants"] == 5
