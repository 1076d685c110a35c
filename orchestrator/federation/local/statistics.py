"""Loss and accuracy of the training samples that one task has seen."""

import torch
from torch import Tensor


class TrainingStatistics:
    """Sums over the samples of all training steps of a task. The sums stay on the device until somebody reads them."""

    def __init__(self, device: torch.device) -> None:
        self._loss_sum = torch.zeros((), device=device)
        self._num_correct = torch.zeros((), dtype=torch.int64, device=device)
        self._num_samples = 0

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (scalar), logits float32[B, classes] and labels int64[B]."""
        self._loss_sum += mean_loss.detach() * len(labels)
        self._num_correct += (logits.detach().argmax(dim=1) == labels).sum()
        self._num_samples += len(labels)

    def mean_loss(self) -> float:
        """Mean loss over all samples; 0 before the first batch."""
        return float(self._loss_sum) / max(1, self._num_samples)

    def accuracy(self) -> float:
        """Share of the samples that the model predicted correctly in the step that trained on them."""
        return int(self._num_correct) / max(1, self._num_samples)
