"""Scores the global model in the driver, and plans the tasks in which clients score their own models.

The data are the same for every method: the central test set, and each client's own test and validation part.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.client_index import ClientIndex
from orchestrator.execution.torch_threads import torch_threads
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.own_parts.metrics import measured
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.evaluate import distribution, predict
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import SCORES, UNSEEN_SCORES, ClientScore
from orchestrator.fleet.client_sampler import ClientSampler
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.storage.client_scores import ClientScores


class Evaluator:
    """Evaluates the global model. Model and test samples are created at the first evaluation."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._flat: FlatModule | None = None
        partition, num_clients = experiment.partition, experiment.setting.num_clients
        self._test_parts = partition.test.first(num_clients)
        self._unseen_test_parts = partition.test.after(num_clients)
        self._validation_parts = partition.validation.first(num_clients)
        self._test: tuple[Tensor, Tensor] | None = None
        self._validation: tuple[Tensor, Tensor] | None = None

    def is_due(self, round_idx: int, *, last: bool) -> bool:
        """Whether the global model is scored after this round."""
        return last or (round_idx + 1) % self._experiment.config.training.eval_every == 0

    def plan(self, round_idx: int, *, last: bool) -> RoundPlan:
        """The scoring tasks after this round: one for each client, or none."""
        config = self._experiment.config.evaluation
        if last and config.finetune_epochs:
            return RoundPlan.of(round_idx, self._scored_clients(), "finetune")
        every = config.personal_every
        due = self.is_due(round_idx, last=last) if every is None else last or (round_idx + 1) % every == 0
        if due and self._experiment.algorithm.has_client_models:
            return RoundPlan.of(round_idx, self._scored_clients(), "evaluate")
        return RoundPlan(round_idx, ())

    def _scored_clients(self) -> tuple[int, ...]:
        """All clients, or `evaluation.max_clients` of them: the same clients in every evaluation of the run.

        The unseen clients follow, or the first `evaluation.max_clients` of them.
        """
        config = self._experiment.config
        num_clients, most = config.fleet.num_clients, config.evaluation.max_clients
        unseen = tuple(range(num_clients, config.fleet.num_with_unseen))[:most]
        if most is None or most >= num_clients:
            return (*range(num_clients), *unseen)
        sampled = ClientSampler(num_clients).sample(most, stream(config.seed, "scored clients"))
        return (*sorted(sampled), *unseen)

    def evaluate(self, params: Tensor, client_scores: ClientScores | None = None) -> dict[str, float]:
        """Scores of a float32[D] global model on the central test set and on the clients' test and validation parts.

        The method adds the accuracy on each client's test part to `client_scores`.
        """
        if self._flat is None or self._test is None:
            dataset = self._experiment.dataset
            self._flat = self._experiment.new_model()
            inputs = dataset.to_tensor(dataset.test_inputs)
            self._test = inputs, torch.from_numpy(np.array(dataset.test_labels))
        self._flat.load(params)
        with torch_threads(1):
            predictions = predict(self._flat, *self._test, keep_logits=bool(self._experiment.metrics))
            validation = self._validate(self._flat)
        scores = client_means(predictions.correct, self._test_parts)
        is_shared = not self._experiment.algorithm.has_client_models
        names = ("eval/client_accuracy", *(["personal/accuracy"] if is_shared else []))
        if client_scores is not None:
            for name in names:
                client_scores.add(name, np.flatnonzero(self._test_parts.sizes()), scores)
        metrics = {
            "eval/accuracy": float(predictions.correct.mean()),
            "eval/loss": float(predictions.loss.mean()),
            **distribution(scores, "eval/client_accuracy"),
        }
        if is_shared:
            metrics |= distribution(scores, "personal/accuracy")
        metrics |= self._score_unseen(predictions.correct, names, client_scores)
        if predictions.logits is not None:
            labels = self._experiment.dataset.test_labels
            metrics |= measured(self._experiment.metrics, "eval", labels, predictions.logits)
        return metrics | validation

    def _score_unseen(
        self, correct: NDArray[np.bool_], names: Sequence[str], client_scores: ClientScores | None
    ) -> dict[str, float]:
        """Scores of the global model on unseen clients' test parts, from bool[N] `correct`; empty without them."""
        parts = self._unseen_test_parts
        if not len(parts):
            return {}
        scores, metrics = client_means(correct, parts), dict[str, float]()
        for name in (UNSEEN_SCORES[name] for name in names):
            metrics |= distribution(scores, name)
            if client_scores is not None:
                first = len(self._test_parts)
                client_scores.add(name, first + np.flatnonzero(parts.sizes()), scores)
        return metrics

    def _validate(self, flat: FlatModule) -> dict[str, float]:
        """Scores of the loaded global model on all clients' validation parts; empty without validation samples."""
        rows = self._validation_parts.indices
        if not rows.size:
            return {}
        if self._validation is None:
            dataset = self._experiment.dataset
            inputs = dataset.to_tensor(dataset.train_inputs[rows])
            self._validation = inputs, torch.from_numpy(dataset.train_labels[rows])
        predictions = predict(flat, *self._validation)
        metrics = {
            "validation/accuracy": float(predictions.correct.mean()),
            "validation/loss": float(predictions.loss.mean()),
        }
        if not self._experiment.algorithm.has_client_models:
            positions = self._validation_parts.positions()
            metrics |= distribution(
                client_means(predictions.correct, positions), "validation/personal_accuracy"
            )
        return metrics


def named_scores(score: ClientScore, num_clients: int) -> Mapping[str, float]:
    """The accuracies of a client by metric. Those of an unseen client have other names, or are left out."""
    if score.client_id < num_clients:
        return score.scores
    return {UNSEEN_SCORES[name]: value for name, value in score.scores.items() if name in UNSEEN_SCORES}


def score_distributions(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics of the distribution of the clients' scores; empty without scores."""
    metrics: dict[str, float] = {}
    for name in (*SCORES, *UNSEEN_SCORES.values()):
        values = [score[name] for score in scores if name in score]
        if values:
            metrics |= distribution(np.array(values), name)
    return metrics


def client_means(correct: NDArray[np.bool_], parts: ClientIndex) -> NDArray[np.float64]:
    """float64[K]: the accuracy of each client on its own part; clients without samples are left out."""
    running = np.concatenate([[0], np.cumsum(correct[parts.indices])])
    num_correct, sizes = running[parts.stops] - running[parts.starts], parts.sizes()
    means: NDArray[np.float64] = num_correct[sizes > 0] / sizes[sizes > 0]
    return means


def sparsity_metrics(
    layout: ParameterLayout, before: ServerState, aggregate: Aggregate, after: ServerState
) -> dict[str, float]:
    """Density of the server's model and of the clients' updates, and the share of the mask that the round changed."""
    mask_change = 0.0
    if before.mask is not None and after.mask is not None:
        changed = int(torch.count_nonzero(before.mask != after.mask))
        mask_change = changed / max(1, layout.num_maskable)
    metrics = {"sparsity/density": layout.density(after.mask), "sparsity/mask_change": mask_change}
    if aggregate.coverage is not None and aggregate.total_weight and layout.num_maskable:
        covered = sum(float(aggregate.coverage[s.slice].sum()) for s in layout.maskable)
        metrics["sparsity/client_density"] = covered / (aggregate.total_weight * layout.num_maskable)
    return metrics
