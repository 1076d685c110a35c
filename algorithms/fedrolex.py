"""FedRolex: clients train submodels whose units move through the model from round to round.

HeteroFL with a rolling window: in each round the window of a client's units starts one unit further in every layer. All
units are therefore trained evenly, also if no client can train the full model.

Symbols: rho_k = ratio, K_l = num_units of a group, o_r = r mod K_l, I_l = kept = {(o_r + i) mod K_l, i < ceil(rho_k
K_l)}, in that order.

Deviations:

- `offset=random` chooses random units for each client and round, as Federated Dropout does.
- Ratios belong to the devices. The public code redraws them in each round.
- Of the code's weights in the average, `uniform` and `samples` are available. Weights by width or by the number of
  earlier updates are not.
- Scaler, masking, personal scores and running statistics are as in `heterofl`, from whose code FedRolex's is derived.
"""

from dataclasses import replace
from typing import ClassVar, Literal, final

import torch
from pydantic import Field

from algorithms import references
from orchestrator.method import (
    Capabilities,
    ClientRatio,
    ClientTask,
    CompensatedAlgorithm,
    CompensatedConfig,
    KeptUnits,
    Traits,
    stream,
)


class FedRolexConfig(CompensatedConfig):
    """Options of FedRolex."""

    offset: Literal["round", "random"] = Field(
        "round", description="the window starts at the round's number, or the units are random in each task"
    )


@final
class FedRolex(CompensatedAlgorithm):
    """Submodels from a rolling window."""

    Config = FedRolexConfig
    config: FedRolexConfig
    capabilities: ClassVar[Capabilities] = replace(CompensatedAlgorithm.capabilities, upload_mask="within")
    traits: ClassVar[Traits] = Traits(
        scope="per device",
        structure="structured",
        when="each round",
        density="per device",
        payload="class bits up",
        citations=(references.FEDROLEX,),
        related=(references.FEDERATED_DROPOUT,),
    )

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        """The window of each group, wrapped around, or random units in ascending order."""
        counts, groups = self.counts(self.ratio(task, client_state)), self.setting.units
        if self.config.offset == "round":
            return {g.name: (task.round_idx + torch.arange(counts[g.name])) % g.num_units for g in groups}
        rng = stream(self.setting.seed, "client", task.round_idx, task.client_id, "units")
        sampled = {g.name: rng.permutation(g.num_units)[: counts[g.name]] for g in groups}
        return {name: torch.from_numpy(units).sort().values for name, units in sampled.items()}
