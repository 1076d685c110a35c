"""Devices that drop out, and the cost of their tasks."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import RoundError
from orchestrator.federation.seeds import stream
from tests.support.fleets import with_profiles
from tests.support.runs import drive, server_mask_bytes
from tests.support.timing import (
    MODEL_BYTES,
    dense_flops,
    events,
    metrics,
    with_availability,
    with_durations,
)


class TestDropout:
    """Devices that drop out during a task."""

    BOTH = ("training.clients_per_round=2",)
    SPARSE = ("algorithm.name=randommask", "sparsity.allocation=uniform")
    #: 128 of 640 weights and 10 biases, without their mask
    SPARSE_BYTES = 12 + 16 + 8 + 4 * (128 + 10)

    def test_dropout_is_billed_for_a_part_of_its_task(self, tmp_path: Path) -> None:
        """With its profile's probability, after a share that is uniform: both from the task's own stream."""
        experiment = with_durations((4.0,) * 6, "training.clients_per_round=6", dropout=0.5)
        drive(experiment, tmp_path)
        num_vanished = 0
        for event in events(tmp_path):
            path = ("client", event["round_idx"], event["client_id"], event["position"], "dropout")
            rng = stream(0, *path)
            if rng.random() >= 0.5:
                assert (event["outcome"], event["total_s"]) == ("used", pytest.approx(4.0))
                assert event["upload_bytes"] == MODEL_BYTES
                continue
            share, num_vanished = rng.random(), num_vanished + 1
            assert event["outcome"] == "vanished"
            assert event["total_s"] == pytest.approx(4.0 * share, rel=1e-9)
            flops = share * dense_flops(experiment, event["client_id"])
            assert event["train_flops"] == event["train_flops_dense"] == pytest.approx(flops, rel=1e-9)
            assert (event["download_bytes"], event["upload_bytes"]) == (MODEL_BYTES, 0)
        assert 3 < num_vanished < 21
        for round_idx, row in enumerate(metrics(tmp_path)):
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            used = sum(e["outcome"] == "used" for e in mine)
            assert (row["fleet/participants"], row["fleet/vanished"]) == (used, 6 - used)
            assert row["comm/upload_bytes"] == used * MODEL_BYTES
            assert row["time/emulated_s"] == pytest.approx(max(e["total_s"] for e in mine), rel=1e-12)

    def test_end_of_availability_interrupts_the_task(self, tmp_path: Path) -> None:
        """Client 0 is available until 5 s and from 20 s, and needs 3 s; client 1 always, and needs 4 s."""
        experiment = with_availability(
            with_durations((3.0, 4.0), *self.BOTH, "training.rounds=6"), [[(0, 5), (20, 99)], [(0, 99)]]
        )
        drive(experiment, tmp_path)
        found = [
            (e["round_idx"], e["start_s"], e["total_s"], e["outcome"])
            for e in events(tmp_path)
            if e["client_id"] == 0
        ]
        assert found == [
            (0, 0.0, pytest.approx(3.0), "used"),
            (1, 4.0, pytest.approx(1.0), "vanished"),
            (5, 20.0, pytest.approx(3.0), "used"),
        ]
        assert [row["fleet/participants"] for row in metrics(tmp_path)] == [2, 1, 1, 1, 1, 2]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [4.0] * 6

    def test_leaving_exactly_at_the_end_is_no_dropout(self, tmp_path: Path) -> None:
        experiment = with_availability(
            with_durations((4.0, 4.0), *self.BOTH, "training.rounds=1"), [[(0, 4)], [(0, 3.999)]]
        )
        drive(experiment, tmp_path)
        assert {e["client_id"]: e["outcome"] for e in events(tmp_path)} == {0: "used", 1: "vanished"}

    def test_waiting_for_a_client_counts_as_round_time(self, tmp_path: Path) -> None:
        """No client is available at 4 s and 64 s. At 124 s both are, and the round lasts 124 s."""
        experiment = with_availability(
            with_durations((4.0, 4.0), *self.BOTH, "training.rounds=3"),
            [[(0, 4), (65, 999)], [(0, 4), (100, 999)]],
        )
        drive(experiment, tmp_path)
        assert [e["start_s"] for e in events(tmp_path)] == [0.0, 0.0, 124.0, 124.0, 128.0, 128.0]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [4.0, 124.0, 4.0]

    def test_round_in_which_all_drop_out_ends_the_run(self, tmp_path: Path) -> None:
        experiment = with_availability(with_durations((4.0, 4.0), *self.BOTH), [[(0, 7)], [(0, 6)]])
        with pytest.raises(RoundError, match="2 devices dropped out") as caught:
            drive(experiment, tmp_path)
        assert (caught.value.round_idx, caught.value.num_updates) == (1, 0)
        assert len(metrics(tmp_path)) == 1

    def test_too_few_clients_do_not_mention_a_deadline(self, tmp_path: Path) -> None:
        experiment = with_availability(
            with_durations((4.0, 4.0), *self.BOTH, "runtime.min_clients=2"), [[(0, 9)], []]
        )
        with pytest.raises(RoundError, match="no other client") as caught:
            drive(experiment, tmp_path)
        assert (caught.value.round_idx, caught.value.num_updates) == (0, 1)
        assert "deadline" not in str(caught.value)

    def test_interrupted_download_does_not_store_the_mask(self, tmp_path: Path) -> None:
        """Client 0 needs more than 6 s to download the mask. It leaves before, and is billed again when it returns."""
        experiment = with_durations((1.0, 1.0), *self.BOTH, *self.SPARSE)
        slow, quick = experiment.setting.profiles
        experiment = with_profiles(experiment, (replace(slow, downlink_bytes_per_s=100.0), quick))
        there = [(0.0, 1.0), (1.0, 2.0), (2.0, 99.0)]
        drive(with_availability(experiment, [there, [(0, 99)]]), tmp_path)
        mine = [(e["outcome"], e["download_bytes"]) for e in events(tmp_path) if e["client_id"] == 0]
        with_mask, without = self.SPARSE_BYTES + server_mask_bytes(experiment), self.SPARSE_BYTES
        assert mine == [("vanished", with_mask)] * 2 + [("used", with_mask), ("used", without)]

    def test_dropout_after_download_keeps_the_mask(self, tmp_path: Path) -> None:
        experiment = with_durations((10.0, 1.0), *self.BOTH, *self.SPARSE)
        there = [(0.0, 0.5), (0.5, 1.5), (1.5, 99.0)]
        drive(with_availability(experiment, [there, [(0, 99)]]), tmp_path)
        mine = [(e["outcome"], e["download_bytes"]) for e in events(tmp_path) if e["client_id"] == 0]
        with_mask, without = self.SPARSE_BYTES + server_mask_bytes(experiment), self.SPARSE_BYTES
        assert mine == [("vanished", with_mask), ("vanished", without), ("used", without), ("used", without)]

    def test_candidate_may_drop_out_before_training(self, tmp_path: Path) -> None:
        """The client reports its loss, a third of a training step, and leaves before it receives the model."""
        options = ("training.clients_per_round=1", "selection.kind=power_of_choice", "training.rounds=1")
        experiment = with_durations((3.0, 300.0), *options, "runtime.min_clients=1")
        drive(experiment, tmp_path / "stays")
        chosen = next(e["client_id"] for e in events(tmp_path / "stays") if e["kind"] == "train")
        there = [[(0.0, 0.5)] if k == chosen else [(0.0, 999.0)] for k in range(2)]
        with pytest.raises(RoundError, match="1 device dropped out"):
            drive(with_availability(experiment, there), tmp_path / "leaves")
