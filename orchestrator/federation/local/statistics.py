"""Loss and accuracy of the training samples that one task has seen."""

from collections.abc import Sequence

import torch
from torch import Tensor


class TrainingStatistics:
    """Losses and correct predictions of all training steps of a task.

    A step only stores what it has computed. The sums are made when somebody reads them, so that a step of a small
    model, which takes one or two milliseconds, does not wait for them.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (scalar), logits float32[B, classes] and labels int64[B]."""
        self._losses.append(mean_loss.detach())
        self._correct.append(logits.argmax(dim=1) == labels)

    def extend(self, mean_losses: Sequence[Tensor], correct: Sequence[Tensor]) -> None:
        """Add batches: their mean losses (scalars), and bool[B] which of their samples were predicted correctly."""
        self._losses.extend(mean_losses)
        self._correct.extend(correct)

    def mean_loss(self) -> float:
        """Mean loss over all samples; 0 before the first batch."""
        if not self._losses:
            return 0.0
        sizes = torch.tensor([len(correct) for correct in self._correct], dtype=torch.float64)
        return float(torch.dot(torch.stack(self._losses).double().cpu(), sizes) / sizes.sum())

    def accuracy(self) -> float:
        """Share of the samples that the model predicted correctly in the step that trained on them."""
        return float(torch.cat(self._correct).double().mean()) if self._correct else 0.0
