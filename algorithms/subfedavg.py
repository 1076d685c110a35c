"""Sub-FedAvg (Un): each client prunes its own model while it trains, and shares only the remaining weights.

In a task a client computes two pruning masks: an early mask and a late mask. The late mask becomes the client's mask
if three conditions are true: the two masks differ, the target is not reached, and the model under the late mask is
accurate enough on the client's validation samples. The server averages every weight over the clients whose mask
contains it.

Symbols: m_k = the client state's mask, p = algorithm.prune_share, epsilon = algorithm.min_distance, a_min =
algorithm.min_accuracy, target = sparsity.level, p' = share(...). The early mask is a scratch value of the task.

Deviations: the condition reads the accuracy on the client's validation part; the public code reads the test part. The
late mask is that after the last local epoch; the code takes it after the fifth. The early mask is that after the first
epoch, or before training if there is only one. The target is a share of the maskable weights, as for `sparsity.level`
in general; `count_all` counts all parameters, biases included, as the code does. Of equal weights, the index decides
which one is pruned.
"""

from dataclasses import replace
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    ROUNDING,
    AlgorithmConfig,
    Capabilities,
    ClientMask,
    ClientMaskAlgorithm,
    LocalRun,
    Traits,
    mask_distance,
    prune_share,
)


class SubFedAvgConfig(AlgorithmConfig):
    """Options of Sub-FedAvg."""

    prune_share: float = Field(0.1, gt=0.0, lt=1.0, description="p: share of a layer pruned at once")
    last_share: float = Field(0.05, gt=0.0, lt=1.0, description="largest share of the last pruning")
    min_distance: float = Field(1e-4, ge=0.0, description="epsilon: least difference of the two masks")
    min_accuracy: float = Field(0.5, ge=0.0, le=1.0, description="a_min: accuracy to exceed after pruning")
    count_all: bool = Field(False, description="compatibility: the target counts all parameters")


@final
class SubFedAvg(ClientMaskAlgorithm[ClientMask]):
    """Personal subnetworks, pruned while they train."""

    capabilities: ClassVar[Capabilities] = replace(
        ClientMaskAlgorithm.capabilities, upload_mask="within", default_density=0.7
    )
    Config: ClassVar[type[AlgorithmConfig]] = SubFedAvgConfig
    config: SubFedAvgConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="iterative",
        density="per device",
        personal=True,
        payload="the mask up, when it changed",
        citations=(references.SUBFEDAVG,),
    )
    gated: ClassVar[bool] = True

    def pruned(self, mask: Tensor) -> float:
        """Share of the counted parameters that is pruned so far."""
        layout = self.setting.layout
        counted = layout.num_trainable if self.config.count_all else layout.num_maskable
        return int(torch.count_nonzero(~mask)) / max(1, counted)

    def share(self, pruned: float, target: float) -> float:
        """Share of the remaining weights to prune: p, or p' = min(last_share, (target - pruned) / (1 - pruned))."""
        if target - pruned >= self.config.prune_share - ROUNDING:
            return self.config.prune_share
        return min(self.config.last_share, (target - pruned) / (1.0 - pruned))

    def on_train_start(self, run: LocalRun[ClientMask]) -> None:
        """With a single local epoch, compute the early mask before training."""
        if self.setting.training.local_epochs == 1:
            run.put_scratch(ClientMask(mask=self._candidate(run)))

    def on_epoch(self, run: LocalRun[ClientMask], epochs_done: int) -> None:
        """With several local epochs, compute the early mask after the first epoch."""
        if epochs_done == 1 and self.setting.training.local_epochs > 1:
            run.put_scratch(ClientMask(mask=self._candidate(run)))

    def after_train(self, run: LocalRun[ClientMask]) -> None:
        """Compute the late mask, and adopt it if all three conditions are true."""
        mask, pruned = run.state.mask, self.pruned(run.state.mask)
        target = 1.0 - self.density(run.task.round_idx, run.task.client_id)
        distance = mask_distance(self.setting.layout, run.scratch(ClientMask).mask, self._candidate(run))
        if pruned >= target - ROUNDING or distance <= self.config.min_distance:
            return
        late = self._candidate(run, self.share(pruned, target))
        trained = run.values.clone()
        run.set_mask(late)
        if run.validation_accuracy() > self.config.min_accuracy:
            run.state = ClientMask(mask=late)
        else:
            run.values.copy_(trained)
            run.set_mask(mask)

    def _candidate(self, run: LocalRun[ClientMask], share: float | None = None) -> Tensor:
        pruned_share = share or self.config.prune_share
        return prune_share(self.setting.layout, run.state.mask, run.values.cpu(), pruned_share)
