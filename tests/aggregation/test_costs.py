"""The costs of a round, calculated by hand."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.aggregation.costs import (
    TOTALLED,
    add_totals,
    phase_s,
    round_costs,
)
from orchestrator.federation.client_event import ClientEvent, interrupted_event, participation
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.sparsity.masks import mask_digest
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
        "unmasked_flops": 250.0,
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
        "unmasked_flops": 250.0,
        "download_s": 4.0,
        "compute_s": 2.5,
        "compute_ideal_s": 2.5,
        "upload_s": 4.0,
        "num_examples": 10,
        "train_loss": 0.5,
    }
    return ClientEvent(**(content | changes))


def test_an_event_takes_its_bytes_from_the_buffer_and_its_seconds_from_the_profile() -> None:
    event = participation(TASK, _update(), SLOW, download_bytes=20, start_s=60.0)
    expected = _event(round_idx=3, position=1, client_id=7, start_s=60.0)
    assert event == expected
    assert event.total_s == 4.0 + 2.5 + 4.0


@pytest.mark.parametrize(("efficiency", "compute_s"), [(0.0, 3.5), (0.25, 3.25), (1.0, 2.5)])
def test_an_event_has_its_time_and_the_time_of_an_ideal_device(efficiency: float, compute_s: float) -> None:
    """250 FLOPs under the mask and 350 without it, at 100 FLOP/s."""
    device = replace(SLOW, sparse_efficiency=efficiency)
    event = participation(TASK, _update(unmasked_flops=350.0), device, download_bytes=20)
    assert (event.compute_s, event.compute_ideal_s) == (compute_s, 2.5)
    assert (event.train_flops, event.unmasked_flops, event.train_flops_dense) == (250.0, 350.0, 400.0)


def test_an_update_without_a_loss_has_none() -> None:
    assert math.isnan(participation(TASK, _update(metrics={}), SLOW, 20).train_loss)


def test_an_event_is_one_line_of_json() -> None:
    line = _event(client_id=7).to_line()
    assert "\n" not in line
    assert ClientEvent(**json.loads(line)) == _event(client_id=7)


def _costs(events: list[ClientEvent], emulated_s: float = 0.0, **changes: float) -> dict[str, float]:
    options: dict[str, Any] = {"num_failures": 0, "wall_s": 1.0, **changes}
    return round_costs(events, emulated_s=emulated_s, **options)


def test_a_round_adds_up_its_clients() -> None:
    events = [
        _event(),
        _event(
            client_id=1, upload_bytes=3, download_bytes=5, compute_s=100.0, num_examples=30, train_loss=1.5
        ),
        _event(client_id=2, train_flops=1.0, train_flops_dense=2.0, download_s=0.0, compute_ideal_s=0.5),
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
    """The outcome of an update does not change its bytes; only used updates count for staleness."""
    events = [
        _event(staleness=4),
        _event(client_id=1, staleness=1),
        _event(client_id=2, outcome="late"),
        _event(client_id=3, outcome="surplus"),
        _event(client_id=4, outcome="surplus"),
        _event(client_id=5, outcome="stale", staleness=9),
        _event(client_id=6, outcome="vanished", upload_bytes=0),
    ]
    costs = _costs(events)
    assert (costs["comm/upload_bytes"], costs["comm/download_bytes"]) == (6 * 8, 7 * 20)
    assert costs["fleet/participants"] == 2
    assert [costs[f"fleet/{fate}"] for fate in ("stragglers", "surplus", "vanished", "stale")] == [1, 2, 1, 1]
    assert (costs["fleet/staleness_mean"], costs["fleet/staleness_max"]) == (2.5, 4)


def test_the_loss_of_a_device_that_vanished_is_not_known() -> None:
    gone = _event(client_id=1, outcome="vanished", train_loss=99.0, num_examples=1000)
    assert _costs([_event(), gone])["train/loss"] == 0.5
    assert _costs([gone])["train/loss"] == 0.0


def test_probes_and_losses_cost_but_are_no_participants() -> None:
    asked = [
        _event(kind="probe", compute_s=1.0, train_loss=math.nan, num_examples=500),
        _event(kind="loss", client_id=1, train_loss=math.nan, num_examples=500),
    ]
    training = [_event(client_id=2), _event(client_id=3, compute_s=50.0, train_loss=1.5, num_examples=30)]
    costs = _costs([*asked, *training])
    assert (costs["comm/upload_bytes"], costs["comm/download_bytes"]) == (4 * 8, 4 * 20)
    assert (costs["compute/train_flops"], costs["compute/train_flops_dense"]) == (1000.0, 1600.0)
    assert costs["train/loss"] == (0.5 * 10 + 1.5 * 30) / 40
    assert costs["fleet/participants"] == 2


def test_a_round_without_clients_costs_nothing() -> None:
    assert set(_costs([], wall_s=0.0).values()) == {0}


class TestPhase:
    """The duration of a phase that waits for all its clients."""

    def test_slowest_client_decides(self) -> None:
        events = [_event(), _event(client_id=1, compute_s=100.0), _event(client_id=2, download_s=0.0)]
        assert phase_s(events) == 4.0 + 100.0 + 4.0

    def test_tasks_of_one_client_run_one_after_the_other(self) -> None:
        events = [_event(client_id=1), _event(client_id=1), _event(client_id=2, compute_s=10.0)]
        assert phase_s(events) == 2 * (4.0 + 2.5 + 4.0)

    def test_phase_without_clients_takes_no_time(self) -> None:
        assert phase_s([]) == 0.0


class TestCutShort:
    """4 s of download, 2.5 s of training and 4 s of upload; a device that drops out does a part."""

    @pytest.mark.parametrize(
        ("after_s", "download_s", "compute_s", "upload_s"),
        [
            (3.0, 3.0, 0.0, 0.0),
            (4.0, 4.0, 0.0, 0.0),
            (5.0, 4.0, 1.0, 0.0),
            (6.5, 4.0, 2.5, 0.0),
            (10.25, 4.0, 2.5, 3.75),
        ],
    )
    def test_interrupted_task_is_billed_until_the_dropout(
        self, after_s: float, download_s: float, compute_s: float, upload_s: float
    ) -> None:
        found = interrupted_event(_event(start_s=70.0, unmasked_flops=350.0, compute_ideal_s=1.5), after_s)
        assert (found.download_s, found.compute_s, found.upload_s) == (download_s, compute_s, upload_s)
        assert found.total_s == after_s
        assert (found.outcome, found.start_s) == ("vanished", 70.0)
        share = compute_s / 2.5
        assert (found.train_flops, found.train_flops_dense) == (250.0 * share, 400.0 * share)
        assert (found.unmasked_flops, found.compute_ideal_s) == (350.0 * share, 1.5 * share)
        assert (found.download_bytes, found.upload_bytes) == (20, 0)

    @pytest.mark.parametrize("after_s", [0.0, -3.0, -math.inf])
    def test_dropout_before_the_start_costs_nothing(self, after_s: float) -> None:
        found = interrupted_event(_event(), after_s)
        assert (found.download_bytes, found.upload_bytes, found.train_flops, found.total_s) == (
            0,
            0,
            0.0,
            0.0,
        )

    def test_without_training_there_is_none_to_share(self) -> None:
        found = interrupted_event(_event(compute_s=0.0, train_flops=0.0, train_flops_dense=0.0), 5.0)
        assert (found.train_flops, found.upload_s, found.upload_bytes) == (0.0, 1.0, 0)


def test_totals_add_up() -> None:
    costs = _costs([_event()], emulated_s=10.5, num_failures=1, wall_s=0.5)
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


def test_every_total_is_of_a_metric_and_every_metric_is_described() -> None:
    costs = _costs([_event()])
    assert set(TOTALLED) <= costs.keys()
    assert costs.keys() | add_totals({}, costs).keys() | {"fleet/in_flight"} <= METRICS.keys()


class TestMaskDigest:
    """The digest of a mask."""

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
