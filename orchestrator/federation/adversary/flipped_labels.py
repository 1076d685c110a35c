"""Label flip: an attacker of C classes trains on the label C - 1 - y for each label y."""

from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from orchestrator.federation.local.environment import Batch, TrainingData


@final
@dataclass(frozen=True, slots=True, eq=False)
class FlippedLabels:
    """The training samples of an attacker. Implements `federation.local.environment.TrainingData`."""

    honest: TrainingData
    num_classes: int

    @property
    def labels(self) -> Tensor:
        """int64[n]: the flipped labels."""
        return self.num_classes - 1 - self.honest.labels

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.honest)

    def epoch(self, rng: np.random.Generator) -> Batch:
        """The samples in the same order as without an attack, with flipped labels."""
        inputs, labels = self.honest.epoch(rng)
        return inputs, self.num_classes - 1 - labels
