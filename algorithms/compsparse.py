"""Complement sparsification: clients send the weights that the server has pruned.

The server sends a model that it has pruned by magnitude. Clients train all weights and send only those that the server
had pruned, the complement. The server adds the mean complement to its sparse model, and prunes again.

Symbols: w_s, m = state.params and mask, eta_s = algorithm.server_lr, s = sparsity.level,
w <- w_s + eta_s sum n_k (1 - m) w_k / sum n_k.

Seen: the abstract and public code. Not seen: the paper's text.

Deviations:

- Round 0 is dense FedAvg, as in the code. Weights that the mask keeps change in this round only, and later when they
  are pruned and return.
- Biases and statistics are averaged without eta_s.
- Both ends know the complement, so that an upload has no mask.
"""

from collections.abc import Mapping
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
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    ServerState,
    Traits,
    allocate,
    magnitude_mask,
)

_COMPLEMENT = "complement"


class CompSparseConfig(AlgorithmConfig):
    """Options of complement sparsification."""

    server_lr: float = Field(1.5, gt=0.0, description="eta_s, factor of the mean complement")


@final
class CompSparse(Algorithm[ServerState, None]):
    """FedAvg of a pruned model whose clients send the pruned weights."""

    Config: ClassVar[type[AlgorithmConfig]] = CompSparseConfig
    config: CompSparseConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="fixed",
        payload="the mask down",
        citations=(references.COMPLEMENT_SPARSIFICATION,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        round_bound=True, default_density=0.5, default_allocation="uniform", density_schedule=True
    )

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1 in round 0, which is dense."""
        return self.density(round_idx) if round_idx else 1.0

    def counts(self, round_idx: int) -> dict[str, int]:
        """Weights of each layer that the mask of a round keeps."""
        return allocate(self.setting.layout, self.density(round_idx), self.setting.sparsity)

    def load(self, run: LocalRun[None]) -> None:
        """Load the sparse model without its mask, so that all weights train."""
        run.load(run.start, None)

    def pack(self, run: LocalRun[None]) -> Payload:
        """The trained values outside the received mask, and all entries that cannot be masked."""
        assert run.received is not None
        if run.received.mask is None:
            return super().pack(run)
        complement = self.complement(run.received.mask)
        return (Dense(_COMPLEMENT, run.values.detach().cpu()[complement].numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The model in round 0, then the complement of the round's mask."""
        if task.round_idx == 0:
            return super().upload_items(task)
        size = self.setting.layout.size - sum(self.counts(task.round_idx).values())
        return {_COMPLEMENT: ItemForm(kinds=(Dense,), size=size)}

    def complement(self, mask: Tensor) -> Tensor:
        """bool[D]: the maskable entries outside a bool[D] mask, and all other entries."""
        return self.setting.layout.expand(~self.setting.layout.restrict(mask))

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Add the mean complement to the sparse model, and prune by magnitude."""
        params = aggregate.values.to(torch.float32)
        if state.mask is not None:
            params = state.params.clone()
            params[self.complement(state.mask)] = aggregate.extras[_COMPLEMENT].to(torch.float32)
            params[~state.mask] *= self.config.server_lr
        mask = magnitude_mask(self.setting.layout, params, self.counts(round_idx + 1))
        return ServerState(params=params * mask, mask=mask)
