"""Differential privacy in whole runs: what it reduces to, its weights and noise by hand, and the logged epsilon."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.contract.rounds import play
from orchestrator.federation.privacy.accountant import epsilon
from orchestrator.federation.seeds import stream
from orchestrator.tracking.record import METRICS, read_records
from tests.support.runs import committed, comparable, drive, prepared

PRIVATE = ("privacy.clip_norm=0.01", "privacy.noise_multiplier=0.7", "training.rounds=2")


@pytest.mark.parametrize(
    "method", ["fedavg", "feddst", "fedspa", "heterofl", "scaffold", "fedrep", "fedmp", "ssfl"]
)
def test_wide_clip_without_noise_is_the_method_bit_for_bit(method: str, tmp_path: Path) -> None:
    name = f"algorithm.name={method}"
    plain = drive(prepared(name, "training.rounds=2"), tmp_path / "plain")
    wide = drive(prepared(name, "training.rounds=2", "privacy.clip_norm=1e9"), tmp_path / "wide")
    assert wide.params_sha256() == plain.params_sha256()
    one, other = (read_records(tmp_path / run / "metrics.jsonl") for run in ("plain", "wide"))
    assert comparable(one) == comparable(other)


def test_change_of_every_client_has_at_most_the_norm() -> None:
    """Also that of an attacker, which sends ten times the opposite of its change."""
    attack = ("attack.kind=sign_flip", "attack.scale=10", "attack.share=0.5")
    experiment = prepared(*attack, "privacy.clip_norm=0.01", "training.rounds=1")
    (recorded,) = play(experiment)
    assert {job.task.client_id for job in recorded.jobs} & set(experiment.attackers)
    for model, start in zip(recorded.models, recorded.received, strict=True):
        assert model is not None
        assert start is not None
        assert float(torch.linalg.vector_norm(model.values - start.values)) == pytest.approx(0.01, rel=1e-4)


def test_round_is_the_unweighted_mean_with_noise_by_hand(tmp_path: Path) -> None:
    """Three clients of different sizes: mean of the clipped models + 0.7 x 0.01 x N(0, 1) / 3."""
    experiment = prepared(*PRIVATE)
    clipped = play(prepared("privacy.clip_norm=0.01", "training.rounds=2"), 1)[0]
    assert len({update.num_examples for update in clipped.updates}) > 1
    mean = sum(model.values.to(torch.float64) for model in clipped.models if model is not None) / 3
    drawn = stream(experiment.config.seed, "server", 0, "privacy").standard_normal(mean.numel())
    expected = (mean + 0.7 * 0.01 / 3 * torch.from_numpy(drawn)).to(torch.float32)
    one_round = prepared(*PRIVATE[:2], "training.rounds=1")
    drive(one_round, tmp_path)
    state = committed(one_round, tmp_path).server_state
    torch.testing.assert_close(state.params, expected, rtol=0.0, atol=1e-7)


def test_epsilon_of_all_rounds_so_far_is_logged(tmp_path: Path) -> None:
    drive(prepared(*PRIVATE, "privacy.delta=1e-4"), tmp_path)
    logged = [r.metrics["privacy/epsilon"] for r in read_records(tmp_path / "metrics.jsonl")]
    expected = [epsilon(0.7, 1e-4, num_rounds=n, cohort_size=3, num_clients=6) for n in (1, 2)]
    np.testing.assert_array_equal(logged, expected)
    assert "privacy/epsilon" in METRICS


def test_run_without_noise_logs_no_epsilon(tmp_path: Path) -> None:
    drive(prepared("privacy.clip_norm=0.01", "training.rounds=1"), tmp_path)
    (record,) = read_records(tmp_path / "metrics.jsonl")
    assert "privacy/epsilon" not in record.metrics


def test_noise_is_added_only_inside_the_mask(tmp_path: Path) -> None:
    """RandomMask at 0.8: weights outside the shared mask stay 0."""
    masked = prepared(*PRIVATE, "algorithm.name=randommask", "sparsity.level=0.8")
    drive(masked, tmp_path)
    state = committed(masked, tmp_path).server_state
    assert state.mask is not None
    assert not state.params[~state.mask].any()
    assert torch.count_nonzero(state.params[state.mask]) == torch.count_nonzero(state.mask)
