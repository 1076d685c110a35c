"""Rounds in order: aggregation, costs, evaluation and records."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import params_sha256
from orchestrator.tracking.record import METRICS, read_records
from tests.support.fakes import cohort
from tests.support.runs import (
    REMEMBERING,
    committed,
    comparable,
    drive,
    initial_state,
    mean_by_samples,
    new_driver,
    prepared,
)

MESSAGE_BYTES = 12 + 16 + 8 + 4 * (64 * 200 + 200 + 200 * 100 + 100 + 100 * 10 + 10)


def _events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def _metrics(folder: Path) -> list[dict[str, float]]:
    return [record.metrics for record in read_records(folder / "metrics.jsonl")]


def test_fedavg_averages_by_samples(tmp_path: Path) -> None:
    experiment = prepared("training.rounds=2")
    params = torch.from_numpy(experiment.initial.copy())
    for round_idx in range(2):
        params = mean_by_samples(experiment, params, round_idx, [0, 1, 2])
    assert drive(experiment, tmp_path).params_sha256() == params_sha256(params)


def test_every_round_is_recorded_once(tmp_path: Path) -> None:
    experiment = prepared()
    records = list(new_driver(experiment, tmp_path).run())
    assert [r.round_idx for r in records] == [0, 1, 2, 3]
    assert read_records(tmp_path / "metrics.jsonl") == records
    events = _events(tmp_path)
    assert [(e["round_idx"], e["position"]) for e in events] == [(r, p) for r in range(4) for p in range(3)]
    for round_idx in range(4):
        sampled = {e["client_id"] for e in events if e["round_idx"] == round_idx}
        assert sampled == set(cohort(experiment, round_idx))
        assert len(sampled) == 3


def test_every_metric_is_described_and_finite(tmp_path: Path) -> None:
    for metrics in (r.metrics for r in new_driver(prepared(REMEMBERING), tmp_path).run()):
        assert metrics.keys() <= METRICS.keys()
        assert all(np.isfinite(value) for value in metrics.values())


def test_record_is_committed_before_it_is_yielded(tmp_path: Path) -> None:
    for record in new_driver(prepared(), tmp_path).run():
        assert (tmp_path / "commits" / f"round-{record.round_idx:06d}.json").exists()
        assert read_records(tmp_path / "metrics.jsonl")[-1] == record


def test_round_metrics_sum_the_clients_costs(tmp_path: Path) -> None:
    experiment = prepared("fleet.name=five-tier")
    drive(experiment, tmp_path)
    events, total_s = _events(tmp_path), 0.0
    for round_idx, metrics in enumerate(_metrics(tmp_path)):
        mine = [e for e in events if e["round_idx"] == round_idx]
        assert metrics["comm/upload_bytes"] == metrics["comm/download_bytes"] == 3 * MESSAGE_BYTES
        assert metrics["comm/upload_bytes_total"] == 3 * MESSAGE_BYTES * (round_idx + 1)
        seconds = []
        for event in mine:
            profile = experiment.setting.profile_of(event["client_id"], 0)
            flops = 6 * 33_800 * len(experiment.partition.train[event["client_id"]])
            assert (event["profile"], event["train_flops"]) == (profile.name, flops)
            seconds.append(
                MESSAGE_BYTES / profile.downlink_bytes_per_s
                + flops / profile.flops_per_s
                + MESSAGE_BYTES / profile.uplink_bytes_per_s
            )
        total_s += max(seconds)
        assert metrics["time/emulated_s"] == pytest.approx(max(seconds), rel=1e-12)
        assert metrics["time/emulated_s_total"] == pytest.approx(total_s, rel=1e-12)
        assert metrics["fleet/participants"] == 3


def test_wall_seconds_cover_the_whole_run_once(tmp_path: Path) -> None:
    """The clock advances by one at each reading: at the start, after each aggregate, and at each checkpoint.

    Round r + 1 starts after the aggregate of round r, so it includes the checkpoint of round r.
    """
    metrics = [r.metrics for r in new_driver(prepared(), tmp_path).run()]
    assert [m["time/wall_s"] for m in metrics] == [1.0, 2.0, 2.0, 2.0]
    assert [m["time/wall_s_total"] for m in metrics] == [1.0, 3.0, 5.0, 7.0]


def test_timestamps_are_milliseconds_of_the_clock(tmp_path: Path) -> None:
    records = list(new_driver(prepared(), tmp_path).run())
    stamps = [r.timestamp_ms for r in records]
    assert all(stamp % 1000 == 0 and stamp > 1_000_000_000 for stamp in stamps)
    assert stamps == sorted(set(stamps))


class TestMaskOnTheWire:
    """A client is billed for a mask only if it does not have the mask yet."""

    def test_mask_is_billed_in_a_client_s_first_round(self, tmp_path: Path) -> None:
        experiment = prepared("algorithm.name=randommask", "sparsity.level=0.5", "training.rounds=6")
        drive(experiment, tmp_path)
        state = initial_state(experiment)
        values = 36 + 4 * int(state.mask.sum())
        bitmap = -(-33_800 // 8)
        seen: set[int] = set()
        for event in _events(tmp_path):
            new = event["client_id"] not in seen
            assert event["download_bytes"] == values + (bitmap if new else 0)
            assert event["upload_bytes"] == values
            seen.add(event["client_id"])
        assert len(seen) > 3

    def test_changed_mask_is_billed_again(self, tmp_path: Path) -> None:
        """`Remembering` has a new mask in rounds 2, 4, ...; every client takes part in every round."""
        experiment = prepared(REMEMBERING, "training.rounds=5", "training.clients_per_round=6")
        drive(experiment, tmp_path)
        by_round: dict[int, list[int]] = {}
        for event in _events(tmp_path):
            by_round.setdefault(event["round_idx"], []).append(
                event["download_bytes"] - event["upload_bytes"]
            )
        bitmap = -(-33_800 // 8)
        assert [set(by_round[r]) for r in range(5)] == [{bitmap}, {0}, {bitmap}, {0}, {bitmap}]

    def test_density_and_change_are_shares_of_the_maskable_weights(self, tmp_path: Path) -> None:
        experiment = prepared(REMEMBERING, "sparsity.level=0.75", "sparsity.allocation=uniform")
        drive(experiment, tmp_path)
        masks = [experiment.algorithm._mask(number) for number in (0, 0, 1, 1, 2)]
        layout = experiment.setting.layout
        for (before, after), metrics in zip(pairwise(masks), _metrics(tmp_path), strict=True):
            changed = int((layout.restrict(before) != layout.restrict(after)).sum())
            assert metrics["sparsity/density"] == int(layout.restrict(after).sum()) / 33_800
            assert metrics["sparsity/density"] == 0.25
            assert metrics["sparsity/mask_change"] == pytest.approx(changed / 33_800)

    def test_dense_model_has_density_one(self, tmp_path: Path) -> None:
        drive(prepared(), tmp_path)
        assert {(m["sparsity/density"], m["sparsity/mask_change"]) for m in _metrics(tmp_path)} == {
            (1.0, 0.0)
        }


class TestTwice:
    """A client that is sampled twice in a round trains twice and is billed twice."""

    OPTIONS = (
        "fleet.num_clients=1",
        "training.clients_per_round=2",
        "training.with_replacement=true",
        "training.rounds=2",
    )

    def test_client_is_billed_twice(self, tmp_path: Path) -> None:
        experiment = prepared(*self.OPTIONS)
        drive(experiment, tmp_path)
        num_images = len(experiment.partition.train[0])
        for metrics in _metrics(tmp_path):
            assert metrics["comm/download_bytes"] == metrics["comm/upload_bytes"] == 2 * MESSAGE_BYTES
            assert metrics["compute/train_flops"] == 2 * 6 * 33_800 * num_images
            assert metrics["fleet/participants"] == 2
        events = [(e["round_idx"], e["position"], e["client_id"]) for e in _events(tmp_path)]
        assert events == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]

    def test_second_task_is_not_billed_for_the_mask(self, tmp_path: Path) -> None:
        drive(prepared(*self.OPTIONS, "algorithm.name=randommask", "sparsity.level=0.5"), tmp_path)
        extra = [e["download_bytes"] - e["upload_bytes"] for e in _events(tmp_path)]
        assert extra == [-(-33_800 // 8), 0, 0, 0]

    @pytest.mark.parametrize(("reshuffle", "equal"), [("false", True), ("true", False)])
    def test_second_task_has_other_batches_unless_reshuffle_is_off(
        self, tmp_path: Path, reshuffle: str, equal: bool
    ) -> None:
        """With the same batches both tasks are the same task, so that their mean is the update of one."""
        fixed = f"training.reshuffle={reshuffle}"
        twice = drive(prepared(*self.OPTIONS, fixed), tmp_path / "twice")
        once = drive(
            prepared("fleet.num_clients=1", "training.clients_per_round=1", "training.rounds=2", fixed),
            tmp_path,
        )
        assert (twice.params_sha256() == once.params_sha256()) == equal


class TestEvaluation:
    """Every so many rounds, and after the last."""

    @pytest.mark.parametrize(
        ("num_rounds", "eval_every", "evaluated"),
        [(4, 1, [0, 1, 2, 3]), (4, 2, [1, 3]), (5, 2, [1, 3, 4]), (3, 5, [2]), (1, 1, [0])],
    )
    def test_rounds_that_are_evaluated(
        self, tmp_path: Path, num_rounds: int, eval_every: int, evaluated: list[int]
    ) -> None:
        drive(prepared(f"training.rounds={num_rounds}", f"training.eval_every={eval_every}"), tmp_path)
        found = [r for r, m in enumerate(_metrics(tmp_path)) if "eval/accuracy" in m]
        assert found == evaluated
        for name in ("eval/loss", "personal/accuracy_mean", "eval/client_accuracy_min"):
            assert [r for r, m in enumerate(_metrics(tmp_path)) if name in m] == evaluated

    def test_eval_every_changes_no_parameter(self, tmp_path: Path) -> None:
        digests = {
            drive(prepared(f"training.eval_every={n}"), tmp_path / str(n)).params_sha256() for n in (1, 3)
        }
        assert len(digests) == 1

    def test_stopped_run_is_evaluated_after_its_last_round(self, tmp_path: Path) -> None:
        drive(prepared("training.rounds=9", "training.eval_every=9"), tmp_path, stopped_after=2)
        metrics = _metrics(tmp_path)
        assert len(metrics) < 9
        assert "eval/accuracy" in metrics[-1]


class TestFloat16:
    """Values have half the bytes; client and server compute with the decoded values."""

    OPTIONS = (
        "wire.value_dtype=float16",
        "algorithm.name=tests.support.methods:Recording",
        "training.rounds=2",
    )

    def test_float16_halves_the_bytes_of_values(self, tmp_path: Path) -> None:
        drive(prepared("wire.value_dtype=float16"), tmp_path)
        for metrics in _metrics(tmp_path):
            assert metrics["comm/upload_bytes"] == 3 * (36 + 2 * 34_110)
        assert _metrics(tmp_path)[-1]["eval/accuracy"] > 0.5

    @pytest.mark.parametrize("level", [0.0, 0.5])
    def test_client_starts_from_the_rounded_model(self, tmp_path: Path, level: float) -> None:
        experiment = prepared(*self.OPTIONS, f"sparsity.level={level}", "training.rounds=1")
        drive(experiment, tmp_path)
        state = initial_state(experiment)
        rounded = state.params.half().float()
        assert not torch.equal(rounded, state.params)
        starts = [memory["start"] for memory in committed(experiment, tmp_path).client_states.values()]
        assert len(starts) == 3
        assert all(torch.equal(start, rounded) for start in starts)

    def test_server_keeps_float32(self, tmp_path: Path) -> None:
        experiment = prepared("wire.value_dtype=float16")
        drive(experiment, tmp_path)
        params = committed(experiment, tmp_path).server_state.params
        assert params.dtype == torch.float32
        assert not torch.equal(params, params.half().float())

    def test_changes_are_measured_from_the_rounded_model(self, tmp_path: Path) -> None:
        """dmean adds the mean change from the decoded values to the server's float32 values."""
        experiment = prepared(
            "wire.value_dtype=float16", "algorithm.name=tests.support.methods:Moving", "training.rounds=1"
        )
        driver = drive(experiment, tmp_path)
        start = torch.from_numpy(experiment.initial.copy())
        mean = mean_by_samples(experiment, start, 0, [0, 1, 2]).double()
        expected = (start.double() + (mean - start.half().double())).float()
        found = committed(experiment, tmp_path).server_state.params
        assert torch.allclose(found, expected, rtol=0, atol=1e-7)
        assert not torch.allclose(found, mean.float(), rtol=0, atol=1e-5)
        assert driver.params_sha256() == params_sha256(found)

    def test_float16_changes_the_result(self, tmp_path: Path) -> None:
        half = drive(prepared("wire.value_dtype=float16"), tmp_path / "half")
        whole = drive(prepared(), tmp_path / "whole")
        assert half.params_sha256() != whole.params_sha256()

    def test_bfloat16_client_starts_from_the_rounded_model(self, tmp_path: Path) -> None:
        options = (*self.OPTIONS[1:], "wire.value_dtype=bfloat16", "sparsity.level=0.5", "training.rounds=1")
        experiment = prepared(*options)
        drive(experiment, tmp_path)
        rounded = initial_state(experiment).params.bfloat16().float()
        starts = [memory["start"] for memory in committed(experiment, tmp_path).client_states.values()]
        assert len(starts) == 3
        assert all(torch.equal(start, rounded) for start in starts)

    def test_value_beyond_float16_ends_the_run_with_the_remedy(self, tmp_path: Path) -> None:
        experiment = prepared("wire.value_dtype=float16", "training.lr=1e6", "training.clip_norm=1.0")
        with pytest.raises(RoundError, match=r"wire\.value_dtype=float32") as caught:
            drive(experiment, tmp_path)
        assert (caught.value.round_idx, caught.value.stage) == (0, "send")


class TestInt8:
    """Values have one byte, and a scale of 4 bytes for each vector."""

    def test_int8_has_a_byte_for_each_value_and_trains(self, tmp_path: Path) -> None:
        drive(prepared("wire.value_dtype=int8"), tmp_path)
        for metrics in _metrics(tmp_path):
            assert metrics["comm/upload_bytes"] == metrics["comm/download_bytes"] == 3 * (36 + 4 + 34_110)
        assert _metrics(tmp_path)[-1]["eval/accuracy"] > 0.5

    @pytest.mark.parametrize("method", ["fedavg", "feddst", "dispfl"])
    def test_resumed_run_rounds_as_the_undisturbed_run(self, tmp_path: Path, method: str) -> None:
        """Evaluation decides which phase first encodes a message, so that it must not decide how values are rounded."""
        options = ("wire.value_dtype=int8", f"algorithm.name={method}", "training.eval_every=3")
        experiment = prepared(*options)
        whole = drive(experiment, tmp_path / "whole")
        for killed_after in (1, 1, 1, None):
            resumed = drive(experiment, tmp_path / "resumed", killed_after=killed_after)
        assert resumed.params_sha256() == whole.params_sha256()


def test_finished_run_only_exports_the_model(tmp_path: Path) -> None:
    experiment = prepared()
    first = drive(experiment, tmp_path)
    logs = (tmp_path / "metrics.jsonl").read_bytes()
    again = new_driver(experiment, tmp_path)
    assert list(again.run()) == []
    assert again.params_sha256() == first.params_sha256()
    assert (tmp_path / "metrics.jsonl").read_bytes() == logs


def test_before_the_first_round_the_parameters_are_the_initial_ones(tmp_path: Path) -> None:
    experiment = prepared()
    assert new_driver(experiment, tmp_path).params_sha256() == params_sha256(experiment.initial)


def test_client_state_can_share_memory_with_the_server(tmp_path: Path) -> None:
    """State in which one tensor appears in many places is committed and resumed like any other."""
    experiment = prepared("algorithm.name=tests.support.methods:Sharing")
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    drive(experiment, tmp_path / "killed", killed_after=2)
    assert drive(experiment, tmp_path / "killed").params_sha256() == undisturbed.params_sha256()


def test_equal_configs_give_equal_runs(tmp_path: Path) -> None:
    mine = (
        "methods:Remembering",
        "probing_methods:Asking",
        "message_methods:Tailored",
        "probing_methods:Stubborn",
    )
    for name in ("feddst", "fedavgm", *(f"tests.support.{own}" for own in mine)):
        experiment = prepared(f"algorithm.name={name}")
        runs = [drive(experiment, tmp_path / name / str(n)) for n in range(2)]
        assert runs[0].params_sha256() == runs[1].params_sha256()
        logs = [read_records(tmp_path / name / str(n) / "metrics.jsonl") for n in range(2)]
        assert comparable(logs[0]) == comparable(logs[1])
