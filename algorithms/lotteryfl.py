"""LotteryFL: each client finds a lottery ticket, a sparse model of its own, and exchanges only this model.

Each client searches its own lottery ticket. If the received model is accurate enough on the client's validation
samples, the client prunes the smallest weights of every layer. In this round it trains the remaining weights from
their initial values. The server averages every weight over the clients whose mask contains it.

Symbols: w = state.params, w_0 = setting.initial, m_k and rho_k = the client state's mask and remaining,
p = algorithm.prune_share, a_min = algorithm.min_accuracy, rho_target = 1 - sparsity.level.

Deviations:

- The condition reads the accuracy on the client's validation part. The public code reads the test part.
- The mask freezes weights. The code freezes weights with |w| < 1e-6, also active weights close to 0.
- Of equal weights, the index decides which one is pruned. The code keeps all weights that equal the percentile.
- All trained parameters are rewound, biases included, as in the code. Running statistics keep their received values.
- As in the code, the condition is read before pruning. The last pruning may therefore take rho_k below its target: at
  p = .2 and a target of .1, rho_k ends at .8^11 = .086.
- p is the paper's .2. The code's default is .1.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from pydantic import Field

from algorithms import references
from orchestrator.method import (
    ROUNDING,
    AlgorithmConfig,
    Capabilities,
    ClientMask,
    ClientMaskAlgorithm,
    LocalRun,
    Traits,
    prune_share,
)


class LotteryFLConfig(AlgorithmConfig):
    """Options of LotteryFL."""

    prune_share: float = Field(
        0.2, gt=0.0, lt=1.0, description="p: share of each layer's remaining weights that one pruning removes"
    )
    min_accuracy: float = Field(
        0.2, ge=0.0, le=1.0, description="a_min: validation accuracy above which a client prunes"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LotteryFLClient(ClientMask):
    """Adds rho_k: (1 - p) ^ (number of prunings so far)."""

    remaining: float = 1.0


@final
class LotteryFL(ClientMaskAlgorithm[LotteryFLClient]):
    """Personal lottery tickets."""

    capabilities: ClassVar[Capabilities] = replace(
        ClientMaskAlgorithm.capabilities, upload_mask="within", default_density=0.1
    )
    Config: ClassVar[type[AlgorithmConfig]] = LotteryFLConfig
    config: LotteryFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="iterative",
        density="per device",
        personal=True,
        payload="the mask up, when it changed",
        citations=(references.LOTTERYFL,),
    )
    gated: ClassVar[bool] = True

    def init_client(self, client_id: int) -> LotteryFLClient:
        """All weights."""
        return LotteryFLClient(mask=self.setting.layout.full_mask())

    def on_train_start(self, run: LocalRun[LotteryFLClient]) -> None:
        """Prune and rewind, if the received model is good enough and the target is not yet reached."""
        ticket, share = run.state, self.config.prune_share
        target = self.density(run.task.round_idx, run.task.client_id)
        if ticket.remaining <= target + ROUNDING or run.validation_accuracy() <= self.config.min_accuracy:
            return
        layout = self.setting.layout
        mask = prune_share(layout, ticket.mask, run.values.cpu(), share)
        run.state = LotteryFLClient(mask=mask, remaining=ticket.remaining * (1.0 - share))
        rewound, trained = run.start.clone(), layout.num_trainable
        rewound[:trained] = torch.from_numpy(self.setting.initial[:trained].copy())
        run.load(rewound, mask)
