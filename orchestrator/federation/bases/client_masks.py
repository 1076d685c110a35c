"""The base of methods with one global model in which every client has its own mask.

The server's model is dense. The server knows a client's mask from the client's last upload and sends only the weights
inside this mask. By default the server averages each weight over the clients whose mask contains it.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Payload

#: tolerance when a share is compared with its target, because products of shares are rounded
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientMask:
    """State of a client: its bool[D] `mask`, m_k."""

    mask: Tensor


C = TypeVar("C", bound=ClientMask)


class ClientMaskAlgorithm(Algorithm[ServerState, C]):
    """Each client trains the weights inside its mask, and uses the global model under its mask.

    A client's mask may change only in a task that uploads the new mask, as the model's mask or as a separate item.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", density_schedule=True, device_densities=True
    )
    #: whether clients use their validation accuracy to choose their masks
    gated: ClassVar[bool] = False

    @property
    def needs_validation(self) -> bool:
        """True for a method whose clients are `gated`."""
        return self.gated

    def check(self) -> None:
        """Reject densities by layer, because clients prune every layer by the same share."""
        if self.setting.sparsity.layer_density:
            raise ConfigError(
                "sparsity.allocation",
                "explicit",
                f"the clients of {self.config.name} prune all layers by the same share",
                "set sparsity.level instead",
            )

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: clients start dense, and may stay dense."""
        return 1.0

    def init_client(self, client_id: int) -> C:
        """A mask of all weights. Override this for a client state with more than a mask."""
        return cast(C, ClientMask(mask=self.setting.layout.full_mask()))

    def check_client_state(self, client_state: C) -> None:
        """Reject a mask that removes all weights, or an entry that cannot be masked."""
        layout, mask = self.setting.layout, client_state.mask
        kept = layout.restrict(mask)
        if not torch.equal(layout.expand(kept), mask):
            raise ValueError("the mask removes entries that cannot be masked")
        if layout.num_maskable and not kept.any():
            raise ValueError("the mask keeps no weight")

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing: `unicast` sends every client its own weights."""
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: C) -> Payload:
        """w m_k, and all entries that cannot be masked."""
        return (pack_model(self.setting.layout, state.params, client_state.mask),)

    def shared_mask(self, client_state: C) -> Tensor:
        """m_k, the mask that the client uploaded last; before its first upload all ones."""
        return client_state.mask

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0
