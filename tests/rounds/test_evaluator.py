"""Evaluation against a slow forward pass in numpy, one image at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from orchestrator.data.client_index import ClientIndex
from orchestrator.errors import RoundError
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.execution.executor import Message, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import Outcome
from orchestrator.rounds.evaluator import Evaluator, client_means
from orchestrator.rounds.scoring import SCORING_CHUNK
from orchestrator.tracking.record import read_records
from tests.support.fakes import cohort
from tests.support.runs import (
    TIMING,
    Flaky,
    committed,
    drive,
    prepared,
)


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
    expected = _spread_by_hand([float(own.mean()) for own, _ in parts], "validation/personal_accuracy")
    assert _part(found, "validation/personal_accuracy") == pytest.approx(expected, rel=1e-12)


def test_samples_of_repeated_clients_count_once_as_samples_and_each_time_as_clients() -> None:
    """Four distinct clients among six."""
    repeated = prepared("data.partition.distinct_clients=4")
    params = torch.from_numpy(repeated.initial.copy())
    parts = [_oracle(repeated, params, rows)[0] for rows in repeated.partition.validation]
    found = Evaluator(repeated).evaluate(params)
    assert found["validation/accuracy"] == np.concatenate(parts[:4]).mean()
    expected = sum(part.mean() for part in parts) / 6
    assert found["validation/personal_accuracy_mean"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", ["fedavg", "tests.support.methods:Stubborn"])
def test_run_without_validation_samples_has_no_validation_metric(tmp_path: Path, method: str) -> None:
    drive(prepared(f"algorithm.name={method}", "data.validation_fraction=0"), tmp_path)
    assert _rounds_with(tmp_path, "validation/") == []
    assert _rounds_with(tmp_path, "personal/") == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["fedavg", "tests.support.methods:Stubborn"])
def test_validation_follows_the_interval_of_the_evaluation(tmp_path: Path, method: str) -> None:
    drive(prepared(f"algorithm.name={method}", "training.rounds=5", "training.eval_every=2"), tmp_path)
    for name in ("validation/accuracy", "validation/loss", "validation/personal_accuracy_mean"):
        assert _rounds_with(tmp_path, name) == [1, 3, 4]


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
    experiment = prepared("model.name=tests.support.models:dropout")
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


def _shares(experiment: Experiment, labels: dict[int, int], part: str = "test") -> list[float]:
    """Share of client k's images in a part that show labels[k], counted one by one."""
    shares, dataset = [], experiment.dataset
    index, all_labels = experiment.partition.test, dataset.test_labels
    if part == "validation":
        index, all_labels = experiment.partition.validation, dataset.train_labels
    for k, label in labels.items():
        mine = [int(all_labels[row]) for row in index[k]]
        shares.append(sum(each == label for each in mine) / len(mine))
    return shares


def _spread_by_hand(scores: list[float], prefix: str) -> dict[str, float]:
    """The 10th percentile lies a tenth of the way through the sorted scores, between two of them."""
    mean, ordered = sum(scores) / len(scores), sorted(scores)
    place = 0.1 * (len(scores) - 1)
    below = int(place)
    return {
        f"{prefix}_mean": mean,
        f"{prefix}_std": (sum((s - mean) ** 2 for s in scores) / len(scores)) ** 0.5,
        f"{prefix}_p10": ordered[below] + (place - below) * (ordered[below + 1] - ordered[below]),
        f"{prefix}_min": ordered[0],
    }


def _rounds_with(folder: Path, prefix: str) -> list[int]:
    records = read_records(folder / "metrics.jsonl")
    return [r.round_idx for r in records if any(name.startswith(prefix) for name in r.metrics)]


def _part(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(prefix)}


class Counting(Flaky):
    """Counts the largest number of open requests."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment, {})
        self.outstanding = self.most = self.num_done = 0

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        self.outstanding += len(jobs)
        self.most = max(self.most, self.outstanding)
        return super().submit(message, jobs)

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        self.outstanding -= 1
        self.num_done += 1
        return super().result(handle)


class TestClientsOwnModels:
    """`Stubborn`: client k says class k + n after n tasks, so that its accuracy is a share of its test part."""

    STUBBORN = ("algorithm.name=tests.support.methods:Stubborn", "data.partition.alpha=2")

    @pytest.mark.parametrize("num_rounds", [1, 3])
    def test_every_client_is_scored_with_what_it_would_use_now(self, tmp_path: Path, num_rounds: int) -> None:
        """Also those that never took part, and those that have just done so."""
        experiment = prepared(*self.STUBBORN, f"training.rounds={num_rounds}")
        drive(experiment, tmp_path)
        labels = dict.fromkeys(range(6), 0)
        for k in labels:
            drawn = sum(k in cohort(experiment, r) for r in range(num_rounds))
            labels[k] = (k + drawn) % 10
        scores = _shares(experiment, labels)
        assert len(set(scores)) > 2
        metrics = _last_metrics(tmp_path)
        assert _part(metrics, "personal/accuracy") == pytest.approx(
            _spread_by_hand(scores, "personal/accuracy"), rel=1e-12
        )
        assert metrics["eval/client_accuracy_mean"] != metrics["personal/accuracy_mean"]
        expected = _spread_by_hand(_shares(experiment, labels, "validation"), "validation/personal_accuracy")
        assert _part(metrics, "validation/personal_accuracy") == pytest.approx(expected, rel=1e-12)

    def test_many_clients_are_scored_a_few_at_a_time(self, tmp_path: Path) -> None:
        """All of 40, with no more than two chunks' messages and states open at the same time."""
        experiment = prepared(
            *self.STUBBORN, "training.rounds=1", "fleet.num_clients=40", "data.partition.kind=iid"
        )
        executor = Counting(experiment)
        drive(experiment, tmp_path, executor=executor)
        drawn = cohort(experiment, 0)
        scores = _shares(experiment, {k: (k + (k in drawn)) % 10 for k in range(40)})
        assert _part(_last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
            _spread_by_hand(scores, "personal/accuracy"), rel=1e-12
        )
        assert executor.num_done == 40 + len(drawn)
        assert executor.most == 2 * SCORING_CHUNK

    def test_what_a_round_trained_is_scored_on_its_participants(self, tmp_path: Path) -> None:
        experiment = prepared(*self.STUBBORN, "training.rounds=1")
        drive(experiment, tmp_path)
        labels = {k: (k + 1) % 10 for k in cohort(experiment, 0)}
        expected = _spread_by_hand(_shares(experiment, labels), "trained/accuracy")
        assert _part(_last_metrics(tmp_path), "trained/") == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("name", ["fedavg", "tests.support.methods:Stubborn"])
    def test_trained_models_are_scored_where_the_run_evaluates(self, tmp_path: Path, name: str) -> None:
        experiment = prepared(f"algorithm.name={name}", "training.rounds=5", "training.eval_every=2")
        drive(experiment, tmp_path)
        assert _rounds_with(tmp_path, "trained/") == _rounds_with(tmp_path, "eval/") == [1, 3, 4]

    @pytest.mark.parametrize(
        ("every", "scored"), [("null", [2, 4]), ("1", [0, 1, 2, 3, 4]), ("2", [1, 3, 4]), ("9", [4])]
    )
    def test_they_are_scored_as_often_as_asked(self, tmp_path: Path, every: str, scored: list[int]) -> None:
        options = ("training.rounds=5", "training.eval_every=3", f"evaluation.personal_every={every}")
        drive(prepared(*self.STUBBORN, *options), tmp_path)
        assert _rounds_with(tmp_path, "personal/accuracy") == scored
        assert _rounds_with(tmp_path, "eval/accuracy") == [2, 4]
        assert _rounds_with(tmp_path, "personal/central_accuracy") == []

    def test_so_many_clients_are_scored_the_same_ones_every_time(self, tmp_path: Path) -> None:
        """Four of six; their number of correct answers follows from who was drawn before."""
        options = ("training.rounds=3", "evaluation.personal_every=1", "evaluation.max_clients=4")
        experiment = prepared(*self.STUBBORN, *options)
        plans = [Evaluator(experiment).plan(r, last=r == 2) for r in range(3)]
        scored = [tuple(task.client_id for task in plan.tasks) for plan in plans]
        assert len(set(scored)) == 1
        assert len(set(scored[0])) == 4
        drive(experiment, tmp_path)
        labels = {k: (k + sum(k in cohort(experiment, r) for r in range(3))) % 10 for k in scored[0]}
        assert _part(_last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
            _spread_by_hand(_shares(experiment, labels), "personal/accuracy"), rel=1e-12
        )

    def test_how_often_changes_no_parameter_and_costs_no_byte(self, tmp_path: Path) -> None:
        runs = {}
        for every in ("null", "1", "9"):
            experiment = prepared(*self.STUBBORN, f"evaluation.personal_every={every}")
            digest = drive(experiment, tmp_path / every).params_sha256()
            totals = _part(_last_metrics(tmp_path / every), "comm/") | _part(
                _last_metrics(tmp_path / every), "compute/"
            )
            events = (tmp_path / every / "events.jsonl").read_text()
            runs[every] = (digest, totals, events)
        assert runs["null"] == runs["1"] == runs["9"]

    def test_the_central_test_set_on_request(self, tmp_path: Path) -> None:
        """The share of each class in the whole test set."""
        experiment = prepared(*self.STUBBORN, "training.rounds=1", "evaluation.central_personal=true")
        drive(experiment, tmp_path)
        drawn = cohort(experiment, 0)
        everything = experiment.dataset.test_labels.tolist()
        shares = [everything.count(k + (k in drawn)) / len(everything) for k in range(6)]
        expected = _spread_by_hand(shares, "personal/central_accuracy")
        assert _part(_last_metrics(tmp_path), "personal/central") == pytest.approx(expected, rel=1e-12)
        trained = [everything.count(k + 1) / len(everything) for k in drawn]
        expected = _spread_by_hand(trained, "trained/central_accuracy")
        assert _part(_last_metrics(tmp_path), "trained/central") == pytest.approx(expected, rel=1e-12)

    def test_fine_tuned_copies_on_the_central_test_set_on_request(self, tmp_path: Path) -> None:
        options = ("training.rounds=1", "evaluation.finetune_epochs=1", "evaluation.central_personal=true")
        drive(prepared(*self.STUBBORN, *options), tmp_path)
        metrics = _last_metrics(tmp_path)
        assert 0.0 < metrics["finetuned/central_accuracy_min"] <= metrics["finetuned/central_accuracy_mean"]
        assert metrics["finetuned/central_accuracy_mean"] != metrics["finetuned/accuracy_mean"]

    def test_other_methods_score_the_global_model(self, tmp_path: Path) -> None:
        drive(prepared("evaluation.personal_every=1", "training.eval_every=2"), tmp_path)
        assert _rounds_with(tmp_path, "personal/") == [1, 3]
        metrics = _last_metrics(tmp_path)
        for what in ("mean", "std", "p10", "min"):
            assert metrics[f"personal/accuracy_{what}"] == metrics[f"eval/client_accuracy_{what}"]

    def test_a_client_that_cannot_be_scored_is_tried_again(self, tmp_path: Path) -> None:
        """(3, 5) is only the place of a scoring task: three clients train."""
        options = (*self.STUBBORN, "training.eval_every=4")
        experiment = prepared(*options)
        drive(experiment, tmp_path / "a")
        drive(experiment, tmp_path / "b", executor=Flaky(experiment, {(3, 5): 1}))
        for prefix in ("personal/", "comm/", "fleet/"):
            assert _part(_last_metrics(tmp_path / "a"), prefix) == _part(
                _last_metrics(tmp_path / "b"), prefix
            )
        (line,) = (tmp_path / "b" / "failures.jsonl").read_text().splitlines()
        assert '"client_id": 5' in line

    def test_a_round_is_kept_though_its_clients_cannot_be_scored(self, tmp_path: Path) -> None:
        """The run ends, and resumes after the trained round."""
        experiment = prepared(*self.STUBBORN, "training.rounds=2", "runtime.max_retries=1")
        with pytest.raises(RoundError, match="client 5, round 0"):
            drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 5): 9}))
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert "eval/accuracy" in line
        assert "personal/accuracy_mean" not in line
        assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 2
        resumed = drive(experiment, tmp_path)
        assert resumed.params_sha256() == drive(experiment, tmp_path / "undisturbed").params_sha256()

    def test_a_client_that_is_dropped_is_not_scored(self, tmp_path: Path) -> None:
        experiment = prepared(*self.STUBBORN, "training.rounds=1", "runtime.failure_policy=drop")
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 5): 1}))
        drawn = cohort(experiment, 0)
        scores = _shares(experiment, {k: k + (k in drawn) for k in range(5)})
        assert _part(_last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
            _spread_by_hand(scores, "personal/accuracy"), rel=1e-12
        )


class TestFineTuning:
    """After the last round, on a copy."""

    @pytest.mark.parametrize("name", ["fedavg", "feddst", "tests.support.methods:Stubborn"])
    def test_it_is_measured_at_the_end_and_changes_nothing(self, tmp_path: Path, name: str) -> None:
        with_it, without = (
            prepared(f"algorithm.name={name}", f"evaluation.finetune_epochs={n}") for n in (1, 0)
        )
        tuned = drive(with_it, tmp_path / "tuned").params_sha256()
        assert drive(without, tmp_path / "plain").params_sha256() == tuned
        assert _rounds_with(tmp_path / "tuned", "finetuned/") == [3]
        assert _rounds_with(tmp_path / "plain", "finetuned/") == []
        ignored = (*TIMING, *_part(_last_metrics(tmp_path / "tuned"), "finetuned/"))
        tuned_metrics, plain_metrics = (
            {k: v for k, v in _last_metrics(tmp_path / name).items() if k not in ignored}
            for name in ("tuned", "plain")
        )
        assert tuned_metrics == plain_metrics
        for file in ("events.jsonl", "model/model.safetensors"):
            assert (tmp_path / "tuned" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()

    def test_it_is_training_from_the_global_model_on_the_client_s_own_images(self, tmp_path: Path) -> None:
        """Held to `fine_tune`'s batches with plain softmax steps in PyTorch, one client at a time."""
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
                    part = slice(first, first + training.batch_size)
                    flat.grad.zero_()
                    torch.autograd.backward(cross_entropy(flat.module(images[part]), labels[part]))
                    optimizer.step()
            correct, _ = _oracle(experiment, flat.values)
            scores.append(float(correct[rows].mean()))
        expected = _spread_by_hand(scores, "finetuned/accuracy")
        metrics = _last_metrics(tmp_path)
        assert _part(metrics, "finetuned/") == pytest.approx(expected, rel=1e-12)
        assert metrics["finetuned/accuracy_mean"] > metrics["personal/accuracy_mean"]
