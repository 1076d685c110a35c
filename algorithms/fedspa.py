"""FedSpa: each client trains a sparse model under a mask of its own, which can move.

Every client owns a sparse mask over one dense global model, trains the weights inside it and uploads their change. The
server adds the mean change of all sampled clients, so that a weight in few masks changes little. With dynamic sparse
training a client then replaces its smallest weights by masked weights; random static masks never change.

Symbols: w = state.params, m_k = client_state.mask, d = 1 - sparsity.level, alpha_0 = algorithm.alpha, alpha_t =
alpha_at(t), r_l = ceil(alpha_t n_l) with n_l the active weights of layer l, T = training.rounds, DST and RSM =
algorithm.variant.

Deviations:

- Neither the paper's body nor the authors' code was available. Details that the abstract does not give follow the code
  of its siblings DisPFL and Lockdown. No published number is claimed.
- Clients are weighted equally (`agg_weight`).
- Masks are random. Under DST all clients have the same seed, under RSM each client has its own (`mask_seed`).
- Pruning and growth happen together after training, so that the density is constant. Just-pruned weights may grow
  again.
- The growth gradient is that of one random mini-batch at the trained weights, in evaluation mode. `growth_batches`
  sums over more batches; Lockdown takes a whole pass. `growth=random` chooses random positions, as DisPFL's published
  scripts do.
- Layers without masked weights do not change. The siblings drop and regrow the same weights.
- A grown weight takes the server's value.
- Only weight tensors are masked.
- By default the density is distributed by RigL's ERK (`sparsity.allocation=erk`), as in the siblings.
- A new mask is sent in the shortest coding of the wire format: a bitmap, gaps, or changes of the received mask.
- `mu` adds FedProx's term, which the paper does not have.
- With a moving `sparsity.schedule`, a client changes to the level of a round when it trains in that round.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    AlgorithmConfig,
    Bits,
    Capabilities,
    ClientMask,
    ClientMaskAlgorithm,
    ClientTask,
    ConfigError,
    ItemForm,
    LocalRun,
    Payload,
    Traits,
    allocate,
    cosine_anneal,
    grow_top,
    keep_top,
    random_mask,
    stream,
)

_NEXT_MASK = "next_mask"
#: decimals to which alpha_t n_l is rounded, so that 0.1 x 30 is 3 and not slightly more
_DECIMALS = 9


class FedSpaConfig(AlgorithmConfig):
    """Options of FedSpa."""

    variant: Literal["dst", "rsm"] = Field("dst", description="dynamic masks, or random static ones")
    alpha: float = Field(0.5, ge=0.0, le=1.0, description="share of active weights replaced at round 0")
    growth: Literal["gradient", "random"] = Field("gradient", description="which masked weights grow")
    growth_batches: int = Field(1, ge=1, description="mini-batches whose gradients are summed for growth")
    mask_seed: Literal["shared", "per_client"] | None = Field(
        None, description="first masks: the same for all or not; None: shared for dst, per_client for rsm"
    )
    agg_weight: Literal["uniform", "samples"] = Field("uniform", description="a client's weight in the mean")
    mu: float = Field(0.0, ge=0.0, description="weight of FedProx's proximal term; 0: none")


@final
class FedSpa(ClientMaskAlgorithm[ClientMask]):
    """Personal sparse masks over one dense model."""

    Config: ClassVar[type[AlgorithmConfig]] = FedSpaConfig
    config: FedSpaConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="dynamic",
        density="per device",
        personal=True,
        payload="the next mask up, when it changed",
        citations=(references.FEDSPA,),
        related=(references.DISPFL, references.LOCKDOWN),
    )
    capabilities: ClassVar[Capabilities] = replace(
        ClientMaskAlgorithm.capabilities,
        aggregation="dmean",
        default_density=0.5,
        steady_cost=True,
        default_allocation="erk",
    )

    def check(self) -> None:
        """Every layer must keep a weight on every device, and static masks cannot follow a schedule."""
        setting, kind = self.setting, self.setting.sparsity.schedule.kind
        if self.config.variant == "rsm" and kind != "constant":
            problem = "the masks of algorithm.variant=rsm never change"
            raise ConfigError(
                "sparsity.schedule.kind", kind, problem, "use constant, or algorithm.variant=dst"
            )
        ends = (0, setting.training.rounds - 1)
        for density in sorted({self.density(r, k) for r in ends for k in range(setting.num_clients)}):
            self.targets(density)

    def targets(self, density: float) -> dict[str, int]:
        """n_l: active weights of each layer at a density."""
        return allocate(self.setting.layout, density, self.setting.sparsity)

    def alpha_at(self, round_idx: int) -> float:
        """alpha_t = alpha_0 / 2 (1 + cos(pi t / T)), by the global round; 0 for RSM."""
        if self.config.variant == "rsm":
            return 0.0
        return cosine_anneal(self.config.alpha, round_idx, self.setting.training.rounds)

    def max_density(self, round_idx: int, client_id: int) -> float:
        """The larger density of round 0 and this round, because a mask may be as old as the run."""
        return max(self.density(0, client_id), self.density(round_idx, client_id))

    def weight(self, num_examples: int) -> float:
        """The weight that `agg_weight` selects."""
        return 1.0 if self.config.agg_weight == "uniform" else float(num_examples)

    def init_client(self, client_id: int) -> ClientMask:
        """m_k,0: n_l random weights of each layer, which both ends derive from the seed."""
        seed, chosen = self.setting.seed, self.config.mask_seed
        shared = self.config.variant == "dst" if chosen is None else chosen == "shared"
        rng = stream(seed, "server", "mask") if shared else stream(seed, "client", client_id, "mask")
        counts = self.targets(self.density(0, client_id))
        return ClientMask(mask=random_mask(self.setting.layout, counts, rng))

    def grad_hook(self, run: LocalRun[ClientMask]) -> None:
        """The proximal term acts on the steps; the growth gradient is taken without it."""
        run.add_proximal_gradient(self.config.mu)

    def after_train(self, run: LocalRun[ClientMask]) -> None:
        """Choose the mask of the client's next task. The trained weights are uploaded under the current mask."""
        if self.config.variant == "dst":
            run.state = ClientMask(mask=self._adjusted(run))

    def _adjusted(self, run: LocalRun[ClientMask]) -> Tensor:
        """bool[D]: m_k without the r_l smallest weights of each layer, grown again to the level's counts."""
        layout, mask, task = self.setting.layout, run.state.mask, run.task
        alpha, active = self.alpha_at(task.round_idx), layout.active(mask)
        targets = self.targets(self.density(task.round_idx, task.client_id))
        num_staying = {}
        for segment in layout.maskable:
            count = min(active[segment.name], targets[segment.name])
            num_replaced = ceil(round(alpha * count, _DECIMALS)) if count < segment.size else 0
            num_staying[segment.name] = count - num_replaced
        kept = keep_top(layout, mask, run.values.abs().cpu(), num_staying)
        if num_staying == targets:
            return kept
        return grow_top(layout, kept, self._growth_score(run), targets)

    def _growth_score(self, run: LocalRun[ClientMask]) -> Tensor:
        """float[D]: |gradient| of the plain loss at the trained weights, or random numbers."""
        size, task = self.setting.layout.size, run.task
        if self.config.growth == "random":
            rng = stream(self.setting.seed, "client", task.round_idx, task.client_id, "growth")
            return torch.from_numpy(rng.random(size))
        score = torch.zeros(size)
        for gradient in run.sampled_gradients("growth", self.config.growth_batches, training=False):
            score[: gradient.numel()] += gradient.cpu()
        return score.abs()

    def pack(self, run: LocalRun[ClientMask]) -> Payload:
        """The trained weights under m_k, and the next mask if it differs."""
        assert run.mask is not None
        model = super().pack(run)
        if torch.equal(run.state.mask, run.mask):
            return model
        return (*model, Bits(_NEXT_MASK, self.setting.layout.restrict(run.state.mask).numpy()))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The model, and sometimes the next mask, of which the server only counts the bytes."""
        next_mask = ItemForm(kinds=(Bits,), size=self.setting.layout.num_maskable, required=False)
        return {**super().upload_items(task), _NEXT_MASK: next_mask}
