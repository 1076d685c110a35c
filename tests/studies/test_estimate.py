"""Estimated costs, against the costs of a run and against hand-derived values."""

from pathlib import Path

import pytest

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.studies.data_needs import NEEDS
from orchestrator.studies.estimate import (
    CostEstimate,
    estimate_run,
    estimate_study,
    measured_step_s,
    num_scored,
    samples_per_client,
)
from tests.support.studies import small_plan

#: parameters of the perceptron on the digits: 64 x 200 + 200 x 100 + 100 x 10 weights, and 310 biases
NUM_WEIGHTS, NUM_BIASES = 33_800, 310


def _config(**sections: object) -> ExperimentConfig:
    training = {"rounds": 3, "clients_per_round": 2, "local_epochs": 2, "batch_size": 20}
    return ExperimentConfig.parse({"fleet": {"num_clients": 10}, "training": training, **sections})


def _estimate(config: ExperimentConfig) -> CostEstimate:
    return estimate_run(config, "digits", lambda *_: 0.5)


def test_dense_run_sends_and_trains_the_whole_model() -> None:
    cost = _estimate(_config())
    samples = 0.9 * 1438 / 10
    assert cost.upload_bytes == cost.download_bytes == 3 * 2 * 4 * (NUM_WEIGHTS + NUM_BIASES)
    assert cost.train_flops == pytest.approx(3 * 2 * 2 * samples * 3 * 2 * NUM_WEIGHTS)
    # 130 samples are 7 steps of 20; the three evaluations score 359 + 10 x 100 samples
    steps_s, scored_s = 3 * 2 * 2 * 7 * 0.5, 3 * (359 + 10 * 100) * 0.5 / 60
    assert cost.core_s == pytest.approx(steps_s + scored_s)


def test_mask_saves_bytes_and_flops_but_no_time_on_the_device() -> None:
    masked = _estimate(_config(algorithm={"name": "randommask"}, sparsity={"level": 0.8}))
    dense = _estimate(_config())
    assert masked.upload_bytes == pytest.approx(3 * 2 * 4 * (0.2 * NUM_WEIGHTS + NUM_BIASES))
    assert masked.train_flops == pytest.approx(0.2 * dense.train_flops, rel=1e-3)
    assert masked.core_s == dense.core_s


def test_submodels_have_the_mean_size_of_the_devices() -> None:
    fleet = {"num_clients": 10, "name": "five-tier"}
    share = sum(c**2 for c in (1, 0.5, 0.25, 0.125, 0.0625)) / 5
    cost = _estimate(_config(algorithm={"name": "heterofl"}, fleet=fleet))
    assert cost.upload_bytes == pytest.approx(share * 3 * 2 * 4 * (NUM_WEIGHTS + NUM_BIASES))


def test_samples_follow_the_partition() -> None:
    shards = {"partition": {"kind": "shards", "classes_per_client": 2, "shard_size": 20}}
    assert samples_per_client(_config(data=shards), NEEDS["digits"]) == pytest.approx(36.0)
    config = _config(data=shards, evaluation={"personal_every": 3, "max_clients": 4})
    # three global evaluations, and one of four clients, whose parts have all test samples of two classes
    assert num_scored(config, NEEDS["digits"]) == pytest.approx(3 * 359 + 4 * 359 * 2 / 10)


def test_study_adds_tuning_and_every_seed(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, num_seeds=4)
    costs = estimate_study(plan, lambda *_: 0.5)
    assert [costs[name].num_runs for name in ("tuning", "one seed", "whole study")] == [14, 3, 26]
    whole = costs["tuning"].upload_bytes + 4 * costs["one seed"].upload_bytes
    assert costs["whole study"].upload_bytes == pytest.approx(whole)


def test_step_of_this_machine_is_measured() -> None:
    assert measured_step_s(_config().model, "digits", "digits", 20) > 0.0
