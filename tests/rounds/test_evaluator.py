"""Evaluation against a slow forward pass in numpy, one image at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from orchestrator.data.client_index import ClientIndex
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import stream
from orchestrator.rounds.evaluator import Evaluator, client_means
from orchestrator.tracking.record import read_records
from tests.support.fakes import cohort
from tests.support.runs import (
    TIMING,
    committed,
    drive,
    prepared,
)
from tests.support.scores import last_metrics, part, shares, spread_by_hand


def _oracle(
    experiment: Experiment, params: torch.Tensor, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """bool[N] correct and float64[N] loss of the perceptron in float64, on `rows` of the training part.

    None as `rows`: on the test images.
    """
    layers = {n: v.numpy().astype(np.float64) for n, v in experiment.setting.layout.views(params).items()}
    dataset = experiment.dataset
    images, labels = dataset.test_inputs, dataset.test_labels
    if rows is not None:
        images, labels = dataset.train_inputs[rows], dataset.train_labels[rows]
    correct, losses = [], []
    for image, label in zip(images, labels, strict=True):
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


def test_clients_have_equal_weight_in_the_mean(experiment: Experiment) -> None:
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


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_validation_metrics_are_means_over_all_validation_samples(
    experiment: Experiment, scale: float
) -> None:
    params = torch.from_numpy(experiment.initial * np.float32(scale))
    parts = [_oracle(experiment, params, rows) for rows in experiment.partition.validation]
    found = Evaluator(experiment).evaluate(params)
    correct, losses = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert found["validation/accuracy"] == correct.mean()
    assert found["validation/loss"] == pytest.approx(losses.mean(), rel=1e-5)
    expected = spread_by_hand([float(own.mean()) for own, _ in parts], "validation/personal_accuracy")
    assert part(found, "validation/personal_accuracy") == pytest.approx(expected, rel=1e-12)


def test_samples_of_repeated_clients_count_once_as_samples_and_each_time_as_clients() -> None:
    """Four distinct clients among six."""
    repeated = prepared("data.partition.distinct_clients=4")
    params = torch.from_numpy(repeated.initial.copy())
    parts = [_oracle(repeated, params, rows)[0] for rows in repeated.partition.validation]
    found = Evaluator(repeated).evaluate(params)
    assert found["validation/accuracy"] == np.concatenate(parts[:4]).mean()
    expected = sum(part.mean() for part in parts) / 6
    assert found["validation/personal_accuracy_mean"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", ["fedavg", "tests.support.probing_methods:Stubborn"])
def test_run_without_validation_samples_has_no_validation_metric(tmp_path: Path, method: str) -> None:
    drive(prepared(f"algorithm.name={method}", "data.validation_fraction=0"), tmp_path)
    assert _rounds_with(tmp_path, "validation/") == []
    assert _rounds_with(tmp_path, "personal/") == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["fedavg", "tests.support.probing_methods:Stubborn"])
def test_validation_follows_the_interval_of_the_evaluation(tmp_path: Path, method: str) -> None:
    drive(prepared(f"algorithm.name={method}", "training.rounds=5", "training.eval_every=2"), tmp_path)
    for name in ("validation/accuracy", "validation/loss", "validation/personal_accuracy_mean"):
        assert _rounds_with(tmp_path, name) == [1, 3, 4]


def test_evaluator_can_be_reused(experiment: Experiment) -> None:
    evaluator = Evaluator(experiment)
    params = torch.from_numpy(experiment.initial.copy())
    first = evaluator.evaluate(params)
    assert evaluator.evaluate(torch.zeros_like(params)) != first
    assert evaluator.evaluate(params) == first


def test_evaluation_does_not_change_the_parameters(experiment: Experiment) -> None:
    params = torch.from_numpy(experiment.initial.copy())
    Evaluator(experiment).evaluate(params)
    assert torch.equal(params, torch.from_numpy(experiment.initial))


def test_evaluation_does_not_use_torch_s_global_generator(experiment: Experiment) -> None:
    before = torch.get_rng_state()
    Evaluator(experiment).evaluate(torch.from_numpy(experiment.initial.copy()))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_is_deterministic_with_dropout() -> None:
    experiment = prepared("model.name=tests.support.models:dropout")
    params = torch.from_numpy(experiment.initial.copy())
    values = {repr(Evaluator(experiment).evaluate(params)) for _ in range(3)}
    assert len(values) == 1


def test_client_means_by_hand() -> None:
    correct = np.array([True, True, False, False])
    parts = ClientIndex.of_sizes(np.array([1, 2, 3]), np.array([0, 1, 2, 1, 2, 3]))
    assert client_means(correct, parts).tolist() == [1.0, 0.5, 1 / 3]


def test_training_raises_the_accuracy(experiment: Experiment, tmp_path: Path) -> None:
    untrained = Evaluator(experiment).evaluate(torch.from_numpy(experiment.initial.copy()))
    assert untrained["eval/accuracy"] < 0.3
    drive(experiment, tmp_path)
    trained = Evaluator(experiment).evaluate(committed(experiment, tmp_path).server_state.params)
    assert trained["eval/accuracy"] > 0.4
    assert trained == {k: v for k, v in last_metrics(tmp_path).items() if k in trained}


def _rounds_with(folder: Path, prefix: str) -> list[int]:
    records = read_records(folder / "metrics.jsonl")
    return [r.round_idx for r in records if any(name.startswith(prefix) for name in r.metrics)]


class TestClientsOwnModels:
    """`Stubborn`: client k predicts class k + n after n tasks, so that its accuracy is a share of its test part."""

    STUBBORN = ("algorithm.name=tests.support.probing_methods:Stubborn", "data.partition.alpha=2")

    @pytest.mark.parametrize("num_rounds", [1, 3])
    def test_every_client_is_scored_with_its_present_model(self, tmp_path: Path, num_rounds: int) -> None:
        """This includes clients that never took part, and clients that took part in the last round."""
        experiment = prepared(*self.STUBBORN, f"training.rounds={num_rounds}")
        drive(experiment, tmp_path)
        labels = dict.fromkeys(range(6), 0)
        for k in labels:
            sampled = sum(k in cohort(experiment, r) for r in range(num_rounds))
            labels[k] = (k + sampled) % 10
        scores = shares(experiment, labels)
        assert len(set(scores)) > 2
        metrics = last_metrics(tmp_path)
        assert part(metrics, "personal/accuracy") == pytest.approx(
            spread_by_hand(scores, "personal/accuracy"), rel=1e-12
        )
        assert metrics["eval/client_accuracy_mean"] != metrics["personal/accuracy_mean"]
        expected = spread_by_hand(shares(experiment, labels, validation=True), "validation/personal_accuracy")
        assert part(metrics, "validation/personal_accuracy") == pytest.approx(expected, rel=1e-12)

    def test_trained_models_of_the_participants_are_scored(self, tmp_path: Path) -> None:
        experiment = prepared(*self.STUBBORN, "training.rounds=1")
        drive(experiment, tmp_path)
        labels = {k: (k + 1) % 10 for k in cohort(experiment, 0)}
        expected = spread_by_hand(shares(experiment, labels), "trained/accuracy")
        assert part(last_metrics(tmp_path), "trained/") == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("name", ["fedavg", "tests.support.probing_methods:Stubborn"])
    def test_trained_models_are_scored_in_evaluated_rounds(self, tmp_path: Path, name: str) -> None:
        experiment = prepared(f"algorithm.name={name}", "training.rounds=5", "training.eval_every=2")
        drive(experiment, tmp_path)
        assert _rounds_with(tmp_path, "trained/") == _rounds_with(tmp_path, "eval/") == [1, 3, 4]

    @pytest.mark.parametrize(
        ("every", "scored"), [("null", [2, 4]), ("1", [0, 1, 2, 3, 4]), ("2", [1, 3, 4]), ("9", [4])]
    )
    def test_personal_every_sets_the_scored_rounds(
        self, tmp_path: Path, every: str, scored: list[int]
    ) -> None:
        options = ("training.rounds=5", "training.eval_every=3", f"evaluation.personal_every={every}")
        drive(prepared(*self.STUBBORN, *options), tmp_path)
        assert _rounds_with(tmp_path, "personal/accuracy") == scored
        assert _rounds_with(tmp_path, "eval/accuracy") == [2, 4]
        assert _rounds_with(tmp_path, "personal/central_accuracy") == []

    def test_max_clients_scores_the_same_clients_in_every_round(self, tmp_path: Path) -> None:
        """Four of six clients are scored; their accuracies follow from the cohorts of the earlier rounds."""
        options = ("training.rounds=3", "evaluation.personal_every=1", "evaluation.max_clients=4")
        experiment = prepared(*self.STUBBORN, *options)
        plans = [Evaluator(experiment).plan(r, last=r == 2) for r in range(3)]
        scored = [tuple(task.client_id for task in plan.tasks) for plan in plans]
        assert len(set(scored)) == 1
        assert len(set(scored[0])) == 4
        drive(experiment, tmp_path)
        labels = {k: (k + sum(k in cohort(experiment, r) for r in range(3))) % 10 for k in scored[0]}
        assert part(last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
            spread_by_hand(shares(experiment, labels), "personal/accuracy"), rel=1e-12
        )

    def test_personal_every_changes_no_parameter_and_no_cost(self, tmp_path: Path) -> None:
        runs = {}
        for every in ("null", "1", "9"):
            experiment = prepared(*self.STUBBORN, f"evaluation.personal_every={every}")
            digest = drive(experiment, tmp_path / every).params_sha256()
            totals = part(last_metrics(tmp_path / every), "comm/") | part(
                last_metrics(tmp_path / every), "compute/"
            )
            events = (tmp_path / every / "events.jsonl").read_text()
            runs[every] = (digest, totals, events)
        assert runs["null"] == runs["1"] == runs["9"]

    def test_central_personal_scores_the_central_test_set(self, tmp_path: Path) -> None:
        """The share of each class in the whole test set."""
        experiment = prepared(*self.STUBBORN, "training.rounds=1", "evaluation.central_personal=true")
        drive(experiment, tmp_path)
        sampled = cohort(experiment, 0)
        everything = experiment.dataset.test_labels.tolist()
        personal = [everything.count(k + (k in sampled)) / len(everything) for k in range(6)]
        expected = spread_by_hand(personal, "personal/central_accuracy")
        assert part(last_metrics(tmp_path), "personal/central") == pytest.approx(expected, rel=1e-12)
        trained = [everything.count(k + 1) / len(everything) for k in sampled]
        expected = spread_by_hand(trained, "trained/central_accuracy")
        assert part(last_metrics(tmp_path), "trained/central") == pytest.approx(expected, rel=1e-12)

    def test_central_personal_scores_fine_tuned_models_too(self, tmp_path: Path) -> None:
        options = ("training.rounds=1", "evaluation.finetune_epochs=1", "evaluation.central_personal=true")
        drive(prepared(*self.STUBBORN, *options), tmp_path)
        metrics = last_metrics(tmp_path)
        assert 0.0 < metrics["finetuned/central_accuracy_min"] <= metrics["finetuned/central_accuracy_mean"]
        assert metrics["finetuned/central_accuracy_mean"] != metrics["finetuned/accuracy_mean"]

    def test_other_methods_score_the_global_model(self, tmp_path: Path) -> None:
        drive(prepared("evaluation.personal_every=1", "training.eval_every=2"), tmp_path)
        assert _rounds_with(tmp_path, "personal/") == [1, 3]
        metrics = last_metrics(tmp_path)
        for what in ("mean", "std", "p10", "min"):
            assert metrics[f"personal/accuracy_{what}"] == metrics[f"eval/client_accuracy_{what}"]


class TestFineTuning:
    """After the last round, on a copy."""

    @pytest.mark.parametrize("name", ["fedavg", "feddst", "tests.support.probing_methods:Stubborn"])
    def test_fine_tuning_is_scored_at_the_end_and_changes_nothing(self, tmp_path: Path, name: str) -> None:
        with_it, without = (
            prepared(f"algorithm.name={name}", f"evaluation.finetune_epochs={n}") for n in (1, 0)
        )
        tuned = drive(with_it, tmp_path / "tuned").params_sha256()
        assert drive(without, tmp_path / "plain").params_sha256() == tuned
        assert _rounds_with(tmp_path / "tuned", "finetuned/") == [3]
        assert _rounds_with(tmp_path / "plain", "finetuned/") == []
        ignored = (*TIMING, *part(last_metrics(tmp_path / "tuned"), "finetuned/"))
        tuned_metrics, plain_metrics = (
            {k: v for k, v in last_metrics(tmp_path / name).items() if k not in ignored}
            for name in ("tuned", "plain")
        )
        assert tuned_metrics == plain_metrics
        for file in ("events.jsonl", "model/model.safetensors"):
            assert (tmp_path / "tuned" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()

    def test_fine_tuning_equals_sgd_on_the_client_s_samples(self, tmp_path: Path) -> None:
        """The reference takes the same batches with plain SGD steps of PyTorch, one client after the other."""
        experiment = prepared("evaluation.finetune_epochs=2", "training.rounds=1", "training.lr_decay=0.5")
        drive(experiment, tmp_path)
        params = committed(experiment, tmp_path).server_state.params
        scores = []
        for k, rows in enumerate(experiment.partition.test):
            flat, data = (
                experiment.new_model(),
                DeviceEnvironment(experiment, torch.device("cpu")).training_data(k),
            )
            flat.load(params)
            training = experiment.config.training
            optimizer = torch.optim.SGD(
                flat.module.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay
            )
            rng = stream(0, "client", 0, k, "fine-tuning")
            for _ in range(2):
                images, labels = data.epoch(rng)
                for first in range(0, len(labels), training.batch_size):
                    batch = slice(first, first + training.batch_size)
                    flat.grad.zero_()
                    torch.autograd.backward(cross_entropy(flat.module(images[batch]), labels[batch]))
                    optimizer.step()
            correct, _ = _oracle(experiment, flat.values)
            scores.append(float(correct[rows].mean()))
        expected = spread_by_hand(scores, "finetuned/accuracy")
        metrics = last_metrics(tmp_path)
        assert part(metrics, "finetuned/") == pytest.approx(expected, rel=1e-12)
        assert metrics["finetuned/accuracy_mean"] > metrics["personal/accuracy_mean"]
