"""SparsyFed: re-parameterised weights and pruned activations.

Clients train re-parameterised weights (Powerpropagation), so that small weights move little and stay small. Layers
store only their largest activations for the backward pass, in the proportion of their weights that are not 0. After
training a client keeps the largest weights of all layers.

Symbols: w = sign(v) |v|^beta are the weights of the layers and v the trained parameters, beta = algorithm.beta, s =
sparsity.level.

Seen: the abstract, and a copy of the public code. Not seen: the paper's text.

Deviations:

- Messages and averages are of w. The code stores v in the model and averages v. w keeps the order of v.
- Biases and norms are trained as they are, as in the code.
- In the first round all weights are active. Afterwards a weight that is 0 at all clients stays 0, because its gradient
  by v is 0 for beta > 1.
- FLOPs are counted as under the mask of the received weights.
"""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
    add_sparse_backward,
    exact_share,
    keep_top_overall,
)


class SparsyFedConfig(AlgorithmConfig):
    """Options of SparsyFed."""

    beta: float = Field(1.25, ge=1.0, description="exponent of the re-parameterisation; 1: plain weights")
    sparse_activations: bool = Field(True, description="only the largest activations in the backward pass")


@final
class SparsyFed(Algorithm[ServerState, None]):
    """FedAvg of sparse models with re-parameterised weights."""

    Config: ClassVar[type[AlgorithmConfig]] = SparsyFedConfig
    config: SparsyFedConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="each round",
        density="fixed",
        payload="masks both ways",
        citations=(references.SPARSYFED,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        default_density=0.1, density_schedule=True, device_densities=True, upload_mask="own"
    )

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: the union of the clients' masks may be dense."""
        return 1.0

    def powered(self, values: Tensor, exponent: float) -> Tensor:
        """float32[D]: sign(x) |x|^exponent for the maskable entries, and the other entries as they are."""
        result = values.clone()
        for segment in self.setting.layout.maskable:
            part = values[segment.slice]
            result[segment.slice] = part.sign() * part.abs() ** exponent
        return result

    def load(self, run: LocalRun[None]) -> None:
        """Load w; in training, v, with layers that use w and the largest activations."""
        run.load(run.start, None)
        if run.task.kind != "train":
            return
        maskable = {s.name for s in self.setting.layout.maskable}

        def weights(name: str, weight: Tensor) -> Tensor:
            if f"{name}.weight" not in maskable:
                return weight
            return weight.sign() * weight.abs() ** self.config.beta

        def share(name: str, weight: Tensor) -> float:
            return float(weight.count_nonzero()) / weight.numel() if self.config.sparse_activations else 1.0

        add_sparse_backward(run.own_module(), weights, share)
        run.values.copy_(self.powered(run.start, 1.0 / self.config.beta))
        run.flops.set_mask(run.layout, None if run.received is None else run.received.mask)

    def after_train(self, run: LocalRun[None]) -> None:
        """Return to w, and keep its largest weights."""
        layout = self.setting.layout
        run.values.copy_(self.powered(run.values, self.config.beta))
        share = exact_share(self.density(run.task.round_idx, run.task.client_id))
        sizes = layout.restrict(run.values.detach().abs().cpu())
        run.set_mask(keep_top_overall(layout, sizes, round(share * layout.num_maskable), 1))

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """The mean, in which a weight that a client does not send counts as 0; its mask is the union."""
        union, params = aggregate.union, aggregate.values.to(torch.float32)
        return ServerState(params=params if union is None else params * union, mask=union)
