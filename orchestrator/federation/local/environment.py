"""What surrounds one client's task: the modules and samples of the machine on which the task runs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from orchestrator.models.parameters import FlatModule

#: inputs [B, ...] and labels int64[B]
Batch = tuple[Tensor, Tensor]


class TrainingData(Protocol):
    """The training samples of one client."""

    @property
    def labels(self) -> Tensor:
        """int64[n], in no particular order."""

    def __len__(self) -> int:
        """Number of samples."""

    def epoch(self, rng: np.random.Generator) -> Batch:
        """All inputs [n, ...] and labels int64[n] in a new random order."""


class ClientEnvironment(Protocol):
    """The machine's part of a task: modules, which are expensive to build, and samples."""

    @property
    def full(self) -> FlatModule:
        """The full model. Every call returns the same object, with arbitrary values."""

    def submodel(self, num_kept: Mapping[str, int]) -> FlatModule:
        """A submodel with this number of units in each group. Its values are arbitrary."""

    def training_data(self, client_id: int) -> TrainingData:
        """The client's training samples."""

    def validation_batch(self, client_id: int) -> Batch:
        """All validation samples of the client, in order. The batch may be empty."""
