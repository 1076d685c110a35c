"""The base of methods whose clients each keep a mask of their own over one global model.

The server's model is dense. It sends a client the weights inside that client's mask, which it knows from the
client's last upload, and averages each weight over the clients that hold it unless the method says otherwise.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Payload

#: by so much a share may miss its target and count as there: products of shares are rounded
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientMask:
    """bool[D] `mask` of one client: m_k."""

    mask: Tensor


C = TypeVar("C", bound=ClientMask)


class ClientMaskAlgorithm(Algorithm[ServerState, C]):
    """Each client trains inside its mask; the model it uses is the global one inside it.

    A client's mask may change only in a task that uploads the new one: as that of the model, or as an item of
    its own.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", density_schedule=True, device_densities=True
    )
    #: whether a client's accuracy on its validation samples decides about its mask
    gated: ClassVar[bool] = False

    @property
    def needs_validation(self) -> bool:
        """For the gate."""
        return self.gated

    def check(self) -> None:
        """Clients prune every layer by the same share, so that no layer has a density of its own."""
        if self.setting.sparsity.layer_density:
            raise ConfigError(
                "sparsity.allocation",
                "explicit",
                f"the clients of {self.config.name} prune all layers by the same share",
                "set sparsity.level instead",
            )

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: clients start dense, and may stay so."""
        return 1.0

    def init_client(self, client_id: int) -> C:
        """All weights; to be overridden where a client keeps more than its mask."""
        return cast(C, ClientMask(mask=self.setting.layout.full_mask()))

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing: every client gets its own weights."""
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: C) -> Payload:
        """w m_k, and everything that no mask covers."""
        return (pack_model(self.setting.layout, state.params, client_state.mask),)

    def shared_mask(self, client_state: C) -> Tensor:
        """m_k, which the client uploaded last; all ones before."""
        return client_state.mask

    def weight(self, num_examples: int) -> float:
        """Clients count alike, whatever they hold."""
        return 1.0
