"""A client's training samples on its compute device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.augment import crop_flip
from orchestrator.data.dataset import Dataset


class ClientSamples:
    """A copy of a client's rows of the training part, as batches of tensors.

    With `augment`, each epoch crops and flips the images differently. `labels` is int64[n], in the order of the rows.
    """

    def __init__(
        self, dataset: Dataset, rows: NDArray[np.int64], *, augment: bool, device: torch.device
    ) -> None:
        self._dataset, self._augment, self._device = dataset, augment, device
        self._raw = dataset.train_inputs[rows]
        self.labels = torch.from_numpy(dataset.train_labels[rows]).to(device)
        self._inputs = dataset.to_tensor(self._raw).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return all inputs, as `Dataset.to_tensor` returns them, and labels, int64[n], in a new random order."""
        order = rng.permutation(len(self))
        labels = self.labels[torch.from_numpy(order).to(self._device)]
        if self._augment:
            return self._dataset.to_tensor(crop_flip(self._raw[order], rng)).to(self._device), labels
        return self._inputs[torch.from_numpy(order).to(self._device)], labels
