"""RandomMask: one random unstructured mask, chosen before round 0 and never changed. This is the baseline of FedDST
and SSFL.

Symbols: m = state.mask.

Deviations: The public FedDST code prunes the random initialisation by magnitude and calls the result random. This is
`criterion=magnitude`, the default here. `criterion=random` chooses the positions uniformly.
"""

from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    ServerState,
    Traits,
    allocate,
    initial_mask,
    stream,
)


class RandomMaskConfig(AlgorithmConfig):
    """Options of RandomMask."""

    criterion: Literal["magnitude", "random"] = Field(
        "magnitude", description="keep the largest initial weights of each layer, or uniformly random ones"
    )


@final
class RandomMask(Algorithm[ServerState, None]):
    """FedAvg inside a fixed mask."""

    Config: ClassVar[type[AlgorithmConfig]] = RandomMaskConfig
    config: RandomMaskConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="at start",
        density="fixed",
        payload="the mask once, down",
        baseline_of=(references.FEDDST, references.SSFL),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", default_density=0.2, steady_cost=True
    )

    def check(self) -> None:
        """Reject a level at which a layer keeps no weight."""
        allocate(self.setting.layout, self.density(0), self.setting.sparsity)

    def init(self, params: Tensor) -> ServerState:
        """Choose the mask and zero the weights outside it."""
        layout = self.setting.layout
        counts = allocate(layout, self.density(0), self.setting.sparsity)
        rng = stream(self.setting.seed, "server", "mask")
        mask = initial_mask(layout, params, counts, self.config.criterion, rng)
        return ServerState(params=params * mask, mask=mask)
