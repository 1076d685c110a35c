"""HeteroFL: Diao, Ding and Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning for
Heterogeneous Clients", ICLR 2021, arXiv 2010.01264, https://arxiv.org/abs/2010.01264

Every client trains a narrower model, the first units of each layer of the global one, as many as its device can
hold; the server averages each coordinate over the clients that have it, so that narrow models are nested in wide
ones.

Symbols: rho_k = ratio, K_l = num_units of a group, I_l = kept = the first ceil(rho_k K_l) units.

Deviations: rates stay with the devices (the public code can also redraw them each round). Scaler and masked loss are
on, as in the public code, and can be switched off; `agg_weight` is `uniform` there. The Scaler acts on all that a layer
that produces units puts out, before any norm; without a norm behind it, as in the paper's nets, it makes gradients
larger by 1 / rho_k for each layer, which wants a smaller learning rate, or it off. A client's own submodel is scored
with it, since it was trained so; the public code scores the global model alone. Classifier rows count from clients
that have the class, which takes one bit a class on the way up that the paper does not count; scores are without
the masked loss's zeros. Batch norm is the model's own: running statistics, where it has them, are cut and averaged
like any other coordinate, and there is no pass over the training data that would set them for scoring (the paper's
static batch norm).
"""

from dataclasses import replace
from typing import ClassVar, final

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
    """Nested submodels of fixed width."""

    Config = HeteroFLConfig
    config: HeteroFLConfig
    capabilities: ClassVar[Capabilities] = replace(CompensatedAlgorithm.capabilities, upload_mask="within")
    traits: ClassVar[Traits] = Traits(
        scope="per device",
        structure="structured",
        when="per device",
        density="per device",
        payload="class bits up",
        source="arXiv 2010.01264",
    )

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        """The first units of each group."""
        return first_units(self.setting.units, self.counts(self.ratio(task, client_state)))
