"""The costs of a round, calculated by hand."""

import math
from typing import Any

from orchestrator.aggregation.costs import (
    TOTALLED,
    add_totals,
    phase_s,
    round_costs,
)
from orchestrator.federation.client_event import ClientEvent
from orchestrator.tracking.record import METRICS
from tests.support.updates import client_event


def _costs(events: list[ClientEvent], emulated_s: float = 0.0, **changes: float) -> dict[str, float]:
    options: dict[str, Any] = {"num_failures": 0, "wall_s": 1.0, **changes}
    return round_costs(events, emulated_s=emulated_s, **options)


def test_costs_of_a_round_are_sums_over_its_clients() -> None:
    events = [
        client_event(),
        client_event(
            client_id=1, upload_bytes=3, download_bytes=5, compute_s=100.0, num_examples=30, train_loss=1.5
        ),
        client_event(
            client_id=2, train_flops=1.0, train_flops_dense=2.0, download_s=0.0, compute_ideal_s=0.5
        ),
    ]
    assert round_costs(events, emulated_s=77.5, num_failures=2, wall_s=1.25) == {
        "comm/upload_bytes": 8 + 3 + 8,
        "comm/download_bytes": 20 + 5 + 20,
        "compute/train_flops": 250.0 + 250.0 + 1.0,
        "compute/train_flops_dense": 400.0 + 400.0 + 2.0,
        "time/emulated_s": 77.5,
        "time/compute_s": 2.5 + 100.0 + 2.5,
        "time/compute_ideal_s": 2.5 + 2.5 + 0.5,
        "time/wall_s": 1.25,
        "train/loss": (0.5 * 10 + 1.5 * 30 + 0.5 * 10) / 50,
        "fleet/participants": 3,
        "fleet/failures": 2,
        "fleet/stragglers": 0,
        "fleet/surplus": 0,
        "fleet/vanished": 0,
        "fleet/stale": 0,
        "fleet/staleness_mean": 0.0,
        "fleet/staleness_max": 0,
    }


def test_every_outcome_is_counted_and_billed() -> None:
    """Each outcome is counted, and its bytes are billed. Only used updates count for staleness."""
    events = [
        client_event(staleness=4),
        client_event(client_id=1, staleness=1),
        client_event(client_id=2, outcome="late"),
        client_event(client_id=3, outcome="surplus"),
        client_event(client_id=4, outcome="surplus"),
        client_event(client_id=5, outcome="stale", staleness=9),
        client_event(client_id=6, outcome="vanished", upload_bytes=0),
    ]
    costs = _costs(events)
    assert (costs["comm/upload_bytes"], costs["comm/download_bytes"]) == (6 * 8, 7 * 20)
    assert costs["fleet/participants"] == 2
    assert [costs[f"fleet/{fate}"] for fate in ("stragglers", "surplus", "vanished", "stale")] == [1, 2, 1, 1]
    assert (costs["fleet/staleness_mean"], costs["fleet/staleness_max"]) == (2.5, 4)


def test_loss_of_a_vanished_device_does_not_count() -> None:
    gone = client_event(client_id=1, outcome="vanished", train_loss=99.0, num_examples=1000)
    assert _costs([client_event(), gone])["train/loss"] == 0.5
    assert _costs([gone])["train/loss"] == 0.0


def test_probes_and_losses_are_billed_but_are_no_participants() -> None:
    asked = [
        client_event(kind="probe", compute_s=1.0, train_loss=math.nan, num_examples=500),
        client_event(kind="loss", client_id=1, train_loss=math.nan, num_examples=500),
    ]
    training = [
        client_event(client_id=2),
        client_event(client_id=3, compute_s=50.0, train_loss=1.5, num_examples=30),
    ]
    costs = _costs([*asked, *training])
    assert (costs["comm/upload_bytes"], costs["comm/download_bytes"]) == (4 * 8, 4 * 20)
    assert (costs["compute/train_flops"], costs["compute/train_flops_dense"]) == (1000.0, 1600.0)
    assert costs["train/loss"] == (0.5 * 10 + 1.5 * 30) / 40
    assert costs["fleet/participants"] == 2


def test_round_without_clients_costs_nothing() -> None:
    assert set(_costs([], wall_s=0.0).values()) == {0}


class TestPhase:
    """The duration of a phase that waits for all its clients."""

    def test_slowest_client_decides(self) -> None:
        events = [
            client_event(),
            client_event(client_id=1, compute_s=100.0),
            client_event(client_id=2, download_s=0.0),
        ]
        assert phase_s(events) == 4.0 + 100.0 + 4.0

    def test_tasks_of_one_client_run_one_after_the_other(self) -> None:
        events = [
            client_event(client_id=1),
            client_event(client_id=1),
            client_event(client_id=2, compute_s=10.0),
        ]
        assert phase_s(events) == 2 * (4.0 + 2.5 + 4.0)

    def test_phase_without_clients_takes_no_time(self) -> None:
        assert phase_s([]) == 0.0


def test_totals_are_sums_over_rounds() -> None:
    costs = _costs([client_event()], emulated_s=10.5, num_failures=1, wall_s=0.5)
    first = add_totals({}, costs)
    second = add_totals(first, costs)
    assert first == {
        "comm/upload_bytes_total": 8.0,
        "comm/download_bytes_total": 20.0,
        "compute/train_flops_total": 250.0,
        "compute/train_flops_dense_total": 400.0,
        "time/emulated_s_total": 10.5,
        "time/compute_s_total": 2.5,
        "time/compute_ideal_s_total": 2.5,
        "time/wall_s_total": 0.5,
        "fleet/failures_total": 1.0,
    }
    assert second == {name: 2 * value for name, value in first.items()}


def test_every_total_and_metric_is_described() -> None:
    costs = _costs([client_event()])
    assert set(TOTALLED) <= costs.keys()
    assert costs.keys() | add_totals({}, costs).keys() | {"fleet/in_flight"} <= METRICS.keys()
