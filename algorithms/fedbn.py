"""FedBN: clients share the model except for batch norm, which each client keeps.

FedBN keeps the whole batch norm layers on the client: scale, shift and running statistics. With
`algorithm.local=statistics` the clients keep only the running statistics, as SiloBN does, and the server averages scale
and shift. FedAvg averages all of them.

Symbols: gamma, beta = scale and shift of a batch norm; mu, sigma^2 = its running statistics.

Seen: FedBN's abstract and public code of others that follows it; SiloBN's abstract.

Deviations: clients are weighted by samples. The server's own batch norm stays the initial one, so that `eval/` metrics
do not describe the method. Layer norm, group norm and instance norm are averaged like other layers.
"""

from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import AlgorithmConfig, PersonalPartAlgorithm, Traits


class FedBNConfig(AlgorithmConfig):
    """Options of FedBN."""

    local: Literal["layers", "statistics"] = Field(
        "layers", description="what clients keep of a batch norm: the whole layer, or its running statistics"
    )


@final
class FedBN(PersonalPartAlgorithm):
    """FedAvg over all entries outside batch norm."""

    Config: ClassVar[type[AlgorithmConfig]] = FedBNConfig
    config: FedBNConfig
    traits: ClassVar[Traits] = Traits(
        personal=True, citations=(references.FEDBN,), related=(references.SILOBN,)
    )

    @property
    def body_mask(self) -> Tensor:
        """bool[D]: True outside the entries of batch norm that clients keep."""
        mask = torch.ones(self.setting.layout.size, dtype=torch.bool)
        for segment in self.setting.layout.segments:
            if segment.batch_norm and (self.config.local == "layers" or segment.kind == "buffer"):
                mask[segment.slice] = False
        return mask

    def warnings(self, num_samples: NDArray[np.int64]) -> tuple[str, ...]:
        """Say that the method is FedAvg for a model without batch norm."""
        if not bool(self.body_mask.all()):
            return ()
        kept = "batch norm" if self.config.local == "layers" else "batch norm with running statistics"
        return (f"the model has no {kept}: {self.config.name} gives the same model as fedavg",)
