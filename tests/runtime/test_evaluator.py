"""Evaluation against a slow forward pass in numpy, one image at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.data.client_index import ClientIndex
from orchestrator.runtime.evaluator import Evaluator, client_means
from orchestrator.runtime.experiment import Experiment
from orchestrator.tracking.record import read_records
from tests.runtime.runs import committed, drive, prepared


def _oracle(experiment: Experiment, params: torch.Tensor) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """bool[N] correct and float64[N] loss of the perceptron on the test images, in float64."""
    layers = {n: v.numpy().astype(np.float64) for n, v in experiment.setting.layout.views(params).items()}
    dataset = experiment.dataset
    correct, losses = [], []
    for image, label in zip(dataset.test_inputs, dataset.test_labels, strict=True):
        x = (image.astype(np.float64).ravel() - dataset.mean[0]) / dataset.std[0]
        for name in ("fc1", "fc2"):
            x = np.maximum(layers[f"{name}.weight"] @ x + layers[f"{name}.bias"], 0.0)
        logits = layers["fc3.weight"] @ x + layers["fc3.bias"]
        correct.append(int(logits.argmax()) == label)
        losses.append(float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]))
    return np.array(correct), np.array(losses)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return prepared("data.partition.kind=shards")


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_accuracy_and_loss_are_means_over_the_test_images(experiment: Experiment, scale: float) -> None:
    params = torch.from_numpy(experiment.initial * np.float32(scale))
    correct, losses = _oracle(experiment, params)
    found = Evaluator(experiment).evaluate(params)
    assert len(correct) == 359
    assert found["eval/accuracy"] == correct.mean()
    assert found["eval/loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_each_client_counts_alike_on_its_own_test_part(experiment: Experiment) -> None:
    params = torch.from_numpy(experiment.initial.copy())
    correct, _ = _oracle(experiment, params)
    scores = [sum(correct[row] for row in rows) / len(rows) for rows in experiment.partition.test]
    assert len(set(scores)) > 1
    found = Evaluator(experiment).evaluate(params)
    mean = sum(scores) / len(scores)
    for prefix in ("eval/client_accuracy", "personal/accuracy"):
        assert found[f"{prefix}_mean"] == pytest.approx(mean, rel=1e-12)
        assert found[f"{prefix}_min"] == min(scores)
        assert found[f"{prefix}_std"] == pytest.approx(
            (sum((s - mean) ** 2 for s in scores) / len(scores)) ** 0.5, rel=1e-12
        )
        assert min(scores) <= found[f"{prefix}_p10"] <= mean


def test_an_evaluator_may_be_used_again(experiment: Experiment) -> None:
    evaluator = Evaluator(experiment)
    params = torch.from_numpy(experiment.initial.copy())
    first = evaluator.evaluate(params)
    assert evaluator.evaluate(torch.zeros_like(params)) != first
    assert evaluator.evaluate(params) == first


def test_the_parameters_are_not_written_to(experiment: Experiment) -> None:
    params = torch.from_numpy(experiment.initial.copy())
    Evaluator(experiment).evaluate(params)
    assert torch.equal(params, torch.from_numpy(experiment.initial))


def test_torch_s_own_generator_is_left_alone(experiment: Experiment) -> None:
    before = torch.get_rng_state()
    Evaluator(experiment).evaluate(torch.from_numpy(experiment.initial.copy()))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_off_and_batch_norm_takes_its_running_statistics() -> None:
    experiment = prepared("model.name=tests.runtime.models:dropout")
    params = torch.from_numpy(experiment.initial.copy())
    values = {repr(Evaluator(experiment).evaluate(params)) for _ in range(3)}
    assert len(values) == 1


def test_client_means_by_hand() -> None:
    correct = np.array([True, True, False, False])
    parts = ClientIndex.of_sizes(np.array([1, 2, 3]), np.array([0, 1, 2, 1, 2, 3]))
    assert client_means(correct, parts).tolist() == [1.0, 0.5, 1 / 3]


def test_an_untrained_net_guesses_and_a_trained_one_does_not(experiment: Experiment, tmp_path: Path) -> None:
    untrained = Evaluator(experiment).evaluate(torch.from_numpy(experiment.initial.copy()))
    assert untrained["eval/accuracy"] < 0.3
    drive(experiment, tmp_path)
    trained = Evaluator(experiment).evaluate(committed(experiment, tmp_path).server_state.params)
    assert trained["eval/accuracy"] > 0.4
    assert trained == {k: v for k, v in _last_metrics(tmp_path).items() if k in trained}


def _last_metrics(folder: Path) -> dict[str, float]:
    return read_records(folder / "metrics.jsonl")[-1].metrics
