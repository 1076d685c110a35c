"""HeteroFL: each client trains the submodel that its device supports, and the server averages the overlaps.

Every client trains a submodel: the first units of each layer, as many as its device supports. The server averages each
coordinate over the clients that have it. Small submodels are therefore nested in larger submodels.

Symbols: rho_k = ratio, K_l = num_units of a group, I_l = kept = the first ceil(rho_k K_l) units.

Deviations:

- Ratios belong to the devices. The public code can also redraw them in each round.
- Scaler and masked loss are on, as in the public code, and can be switched off. `agg_weight` is `uniform` in the
  public code.
- The Scaler acts on the outputs of all layers that produce units, before any norm. Without a norm after the layer,
  unlike in the paper's nets, the Scaler makes gradients larger by 1 / rho_k for each layer. In this case lower the
  learning rate, or set `scaler=false`.
- As in the public code, a client's personal score is that of the global model with the logits of absent classes set to
  0 (`scored_model`, `masked_scores`). A submodel is scored with the Scaler, because it was trained with it.
- A classifier row is averaged over the clients that have its class. Clients send one bit for each class, which the
  paper does not count.
- Running statistics are cut and averaged like any other coordinate. No pass over the training data sets them for
  scoring (the paper's static batch norm).
"""

from dataclasses import replace
from typing import ClassVar, final

from algorithms import references
from orchestrator.method import (
    Capabilities,
    ClientRatio,
    ClientTask,
    CompensatedAlgorithm,
    CompensatedConfig,
    KeptUnits,
    Traits,
    first_units,
)


class HeteroFLConfig(CompensatedConfig):
    """Options of HeteroFL."""


@final
class HeteroFL(CompensatedAlgorithm):
    """FedAvg with nested submodels of a fixed ratio for each device."""

    Config = HeteroFLConfig
    config: HeteroFLConfig
    capabilities: ClassVar[Capabilities] = replace(CompensatedAlgorithm.capabilities, upload_mask="within")
    traits: ClassVar[Traits] = Traits(
        scope="per device",
        structure="structured",
        when="per device",
        density="per device",
        payload="class bits up",
        citations=(references.HETEROFL,),
    )

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        """The first units of each group."""
        return first_units(self.setting.units, self.counts(self.ratio(task, client_state)))
