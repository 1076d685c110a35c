"""Evaluation: predictions of a model on test samples, and the distribution of scores over clients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.models.parameters import FlatModule
from orchestrator.models.shapes import EVALUATION_BATCH


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Per test sample: bool[N] `correct`, float64[N] cross-entropy `loss`, and float32[N, classes] `logits` if kept."""

    correct: NDArray[np.bool_]
    loss: NDArray[np.float64]
    logits: NDArray[np.float32] | None = None


#: logits float32[B, classes] -> logits float32[B, classes]
Adjust = Callable[[Tensor], Tensor]


def predict(
    flat: FlatModule,
    inputs: Tensor,
    labels: Tensor,
    adjust: Adjust | None = None,
    *,
    keep_logits: bool = False,
) -> Predictions:
    """Run the loaded model on inputs [N, ...] in evaluation mode, in order, in batches of a fixed size.

    Predictions are those of the logits after `adjust`. Afterwards the model is in its earlier mode (training or
    evaluation).
    """
    training = flat.module.training
    flat.module.eval()
    correct, loss, kept = [], [], []
    with torch.no_grad():
        for x, y in _batches(inputs, labels):
            logits = flat(x) if adjust is None else adjust(flat(x))
            correct.append(logits.argmax(dim=1) == y)
            loss.append(cross_entropy(logits.to(torch.float64), y, reduction="none"))
            if keep_logits:
                kept.append(logits)
    flat.module.train(training)
    logits_of_all = torch.cat(kept).cpu().numpy() if kept else None
    return Predictions(torch.cat(correct).cpu().numpy(), torch.cat(loss).cpu().numpy(), logits_of_all)


def accuracy(flat: FlatModule, inputs: Tensor, labels: Tensor, adjust: Adjust | None = None) -> float:
    """Share of samples that the loaded model predicts correctly, with the logits after `adjust`."""
    return float(predict(flat, inputs, labels, adjust).correct.mean())


def _batches(inputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(inputs, EVALUATION_BATCH), torch.split(labels, EVALUATION_BATCH), strict=True)


def distribution(scores: NDArray[np.float64], prefix: str) -> dict[str, float]:
    """Mean, population standard deviation, 10th percentile and minimum over clients, unweighted."""
    return {
        f"{prefix}_mean": float(scores.mean()),
        f"{prefix}_std": float(scores.std()),
        f"{prefix}_p10": float(np.percentile(scores, 10)),
        f"{prefix}_min": float(scores.min()),
    }
