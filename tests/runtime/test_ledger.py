"""What a round costs, worked out by hand."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.runtime.ledger import (
    TOTALLED,
    ClientEvent,
    add_totals,
    mask_digest,
    participation,
    round_costs,
)
from orchestrator.tracking.record import METRICS

#: 100 FLOP/s, 2 bytes/s up, 5 bytes/s down
SLOW = DeviceProfile(name="slow", flops_per_s=100.0, uplink_bytes_per_s=2.0, downlink_bytes_per_s=5.0)


TASK = ClientTask(round_idx=3, position=1, client_id=7)


def _update(**changes: Any) -> ClientUpdate[None]:
    content: dict[str, Any] = {
        "round_idx": 3,
        "position": 1,
        "client_id": 7,
        "buffer": np.zeros(8, dtype=np.uint8),
        "num_examples": 10,
        "train_flops": 250.0,
        "train_flops_dense": 400.0,
        "client_state": None,
        "metrics": {"loss": 0.5},
    }
    return ClientUpdate(**(content | changes))


def _event(**changes: Any) -> ClientEvent:
    content: dict[str, Any] = {
        "round_idx": 0,
        "kind": "train",
        "position": 0,
        "client_id": 0,
        "profile": "slow",
        "download_bytes": 20,
        "upload_bytes": 8,
        "train_flops": 250.0,
        "train_flops_dense": 400.0,
        "download_s": 4.0,
        "compute_s": 2.5,
        "upload_s": 4.0,
        "num_examples": 10,
        "train_loss": 0.5,
    }
    return ClientEvent(**(content | changes))


def test_an_event_takes_its_bytes_from_the_buffer_and_its_seconds_from_the_profile() -> None:
    event = participation(TASK, _update(), SLOW, download_bytes=20)
    expected = _event(round_idx=3, position=1, client_id=7)
    assert event == expected
    assert event.total_s == 4.0 + 2.5 + 4.0


def test_an_update_without_a_loss_has_none() -> None:
    assert math.isnan(participation(TASK, _update(metrics={}), SLOW, 20).train_loss)


def test_an_event_is_one_line_of_json() -> None:
    line = _event(client_id=7).to_line()
    assert "\n" not in line
    assert ClientEvent(**json.loads(line)) == _event(client_id=7)


def test_a_round_adds_up_its_clients_and_lasts_as_long_as_the_slowest() -> None:
    events = [
        _event(),
        _event(
            client_id=1, upload_bytes=3, download_bytes=5, compute_s=100.0, num_examples=30, train_loss=1.5
        ),
        _event(client_id=2, train_flops=1.0, train_flops_dense=2.0, download_s=0.0),
    ]
    assert round_costs([events], num_failures=2, wall_s=1.25) == {
        "comm/upload_bytes": 8 + 3 + 8,
        "comm/download_bytes": 20 + 5 + 20,
        "compute/train_flops": 250.0 + 250.0 + 1.0,
        "compute/train_flops_dense": 400.0 + 400.0 + 2.0,
        "time/emulated_s": 4.0 + 100.0 + 4.0,
        "time/wall_s": 1.25,
        "train/loss": (0.5 * 10 + 1.5 * 30 + 0.5 * 10) / 50,
        "fleet/participants": 3,
        "fleet/failures": 2,
        "fleet/stragglers": 0,
    }


def test_a_client_drawn_twice_does_one_task_after_the_other() -> None:
    events = [_event(client_id=1), _event(client_id=1), _event(client_id=2)]
    assert round_costs([events], 0, 1.0)["time/emulated_s"] == 2 * events[0].total_s


def test_a_straggler_ends_the_round_at_the_deadline() -> None:
    slow = _event(client_id=1, compute_s=100.0)
    costs = round_costs([[_event(), slow]], 0, 1.0, deadline_s=50.0)
    assert (costs["time/emulated_s"], costs["fleet/stragglers"]) == (50.0, 1)
    costs = round_costs([[_event(), slow]], 0, 1.0, deadline_s=slow.total_s)
    assert (costs["time/emulated_s"], costs["fleet/stragglers"]) == (slow.total_s, 0)


def test_probes_cost_bytes_operations_and_time_but_are_no_participants() -> None:
    """Phases follow one another: each waits for its slowest client."""
    probes = [
        _event(kind="probe", compute_s=1.0, train_loss=math.nan, num_examples=500),
        _event(kind="probe", client_id=1, compute_s=0.0, train_loss=math.nan, num_examples=500),
    ]
    training = [_event(client_id=2), _event(client_id=3, compute_s=50.0, train_loss=1.5, num_examples=30)]
    assert round_costs([probes, training], num_failures=1, wall_s=1.0) == {
        "comm/upload_bytes": 4 * 8,
        "comm/download_bytes": 4 * 20,
        "compute/train_flops": 4 * 250.0,
        "compute/train_flops_dense": 4 * 400.0,
        "time/emulated_s": (4.0 + 1.0 + 4.0) + (4.0 + 50.0 + 4.0),
        "time/wall_s": 1.0,
        "train/loss": (0.5 * 10 + 1.5 * 30) / 40,
        "fleet/participants": 2,
        "fleet/failures": 1,
        "fleet/stragglers": 0,
    }


def test_only_training_has_the_deadline() -> None:
    """The probe of client 0 takes 18 s and nobody's training more than 8 s."""
    probes = [_event(kind="probe", compute_s=10.0), _event(kind="probe", client_id=1, compute_s=0.0)]
    costs = round_costs([probes, [_event(compute_s=0.0)]], 0, 1.0, deadline_s=9.0)
    assert (costs["time/emulated_s"], costs["fleet/stragglers"]) == (18.0 + 8.0, 0)


def test_a_round_without_clients_costs_nothing() -> None:
    costs = round_costs([[]], num_failures=0, wall_s=0.0)
    assert set(costs.values()) == {0}


def test_totals_run_on() -> None:
    costs = round_costs([[_event()]], num_failures=1, wall_s=0.5)
    first = add_totals({}, costs)
    second = add_totals(first, costs)
    assert first == {
        "comm/upload_bytes_total": 8.0,
        "comm/download_bytes_total": 20.0,
        "compute/train_flops_total": 250.0,
        "compute/train_flops_dense_total": 400.0,
        "time/emulated_s_total": 10.5,
        "time/wall_s_total": 0.5,
        "fleet/failures_total": 1.0,
    }
    assert second == {name: 2 * value for name, value in first.items()}


def test_every_total_is_of_a_metric_and_every_metric_is_described() -> None:
    costs = round_costs([[_event()]], num_failures=0, wall_s=0.0)
    assert set(TOTALLED) <= costs.keys()
    assert costs.keys() | add_totals({}, costs).keys() <= METRICS.keys()


class TestMaskDigest:
    """A name for a mask."""

    def test_it_depends_on_the_entries_alone(self) -> None:
        mask = torch.tensor([True, False, True, True, False, False, False, True, True])
        assert mask_digest(mask) == mask_digest(mask.clone())
        wide = torch.zeros(18, dtype=torch.bool)
        wide[::2] = mask
        assert mask_digest(wide[::2]) == mask_digest(mask)

    @pytest.mark.parametrize("entry", range(9))
    def test_it_differs_when_one_entry_does(self, entry: int) -> None:
        mask = torch.tensor([True, False, True, True, False, False, False, True, True])
        other = mask.clone()
        other[entry] = ~other[entry]
        assert mask_digest(mask) != mask_digest(other)
