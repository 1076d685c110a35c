"""A client's event: its costs, its line in the log, and the part of a task before a dropout."""

import json
import math
from dataclasses import replace

import pytest

from orchestrator.federation.client_event import ClientEvent, interrupted_event, participation
from orchestrator.federation.plan import ClientTask
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.updates import client_event, client_update

#: 100 FLOP/s, 2 bytes/s up, 5 bytes/s down
SLOW = DeviceProfile(name="slow", flops_per_s=100.0, uplink_bytes_per_s=2.0, downlink_bytes_per_s=5.0)


TASK = ClientTask(round_idx=3, position=1, client_id=7)


def test_event_has_the_bytes_of_the_buffer_and_the_seconds_of_the_profile() -> None:
    event = participation(
        TASK,
        client_update(round_idx=3, position=1, client_id=7),
        SLOW,
        download_bytes=20,
        start_s=60.0,
    )
    expected = client_event(round_idx=3, position=1, client_id=7, start_s=60.0)
    assert event == expected
    assert event.total_s == 4.0 + 2.5 + 4.0


@pytest.mark.parametrize(("efficiency", "compute_s"), [(0.0, 3.5), (0.25, 3.25), (1.0, 2.5)])
def test_event_has_its_time_and_the_time_of_an_ideal_device(efficiency: float, compute_s: float) -> None:
    """250 FLOPs under the mask and 350 without it, at 100 FLOP/s."""
    device = replace(SLOW, sparse_efficiency=efficiency)
    event = participation(TASK, client_update(unmasked_flops=350.0), device, download_bytes=20)
    assert (event.compute_s, event.compute_ideal_s) == (compute_s, 2.5)
    assert (event.train_flops, event.unmasked_flops, event.train_flops_dense) == (250.0, 350.0, 400.0)


def test_event_of_an_update_without_a_loss_has_nan() -> None:
    assert math.isnan(participation(TASK, client_update(metrics={}), SLOW, 20).train_loss)


def test_event_is_one_line_of_json() -> None:
    line = client_event(client_id=7).to_line()
    assert "\n" not in line
    assert ClientEvent(**json.loads(line)) == client_event(client_id=7)


class TestInterrupted:
    """A task of 4 s of download, 2.5 s of training and 4 s of upload, interrupted by a dropout."""

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
        found = interrupted_event(
            client_event(start_s=70.0, unmasked_flops=350.0, compute_ideal_s=1.5), after_s
        )
        assert (found.download_s, found.compute_s, found.upload_s) == (download_s, compute_s, upload_s)
        assert found.total_s == after_s
        assert (found.outcome, found.start_s) == ("vanished", 70.0)
        share = compute_s / 2.5
        assert (found.train_flops, found.train_flops_dense) == (250.0 * share, 400.0 * share)
        assert (found.unmasked_flops, found.compute_ideal_s) == (350.0 * share, 1.5 * share)
        assert (found.download_bytes, found.upload_bytes) == (20, 0)

    @pytest.mark.parametrize("after_s", [0.0, -3.0, -math.inf])
    def test_dropout_before_the_start_costs_nothing(self, after_s: float) -> None:
        found = interrupted_event(client_event(), after_s)
        assert (found.download_bytes, found.upload_bytes, found.train_flops, found.total_s) == (
            0,
            0,
            0.0,
            0.0,
        )

    def test_interrupted_task_without_training_has_no_flops(self) -> None:
        found = interrupted_event(client_event(compute_s=0.0, train_flops=0.0, train_flops_dense=0.0), 5.0)
        assert (found.train_flops, found.upload_s, found.upload_bytes) == (0.0, 1.0, 0)


def test_upload_counts_once_for_each_receiver() -> None:
    once, thrice = (
        participation(TASK, client_update(), SLOW, download_bytes=20, upload_copies=copies)
        for copies in (1, 3)
    )
    assert thrice.upload_bytes == 3 * once.upload_bytes > 0
    assert thrice.upload_s == 3 * once.upload_s
