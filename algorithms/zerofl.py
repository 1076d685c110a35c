"""ZeroFL: sparse local training, and uploads of a share of the weights.

Clients train with SWAT: each layer except the first uses only its largest weights, and stores only its largest
activations for the backward pass. All weights of the model are updated. A client uploads a share of its weights.

| upload of the paper | `rank` | `average` |
| --- | --- | --- |
| Top-K-Weights | weights | covered, all |
| Diff on Top-K-Weights | weights | change |
| Top-K-Weights-Diff | changes | change |

Symbols: sp = sparsity.level, the share of weights and activations left out, r_mask = algorithm.mask_ratio; the upload
has the share (1 - sp) + r_mask of the weights.

Seen: the abstract, and a copy of the public code of SparsyFed that contains ZeroFL. Not seen: the paper's text.

Deviations:

- A changed weight is sent as its new value. The server knows the old one.
- `average=covered` keeps the server's value where nobody sent a weight. In the code seen, 0 is averaged (`all`).
- Weights are ranked over all layers for the upload, and in each layer for training.
- The public code writes the sparse weights over the dense ones. Here the dense weights remain, as in SWAT.
- FLOPs are counted as under the mask of the largest weights at the start of a task.
"""

from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    AGGREGATORS,
    Aggregator,
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    LocalRun,
    Payload,
    ServerState,
    Traits,
    add_sparse_backward,
    exact_share,
    keep_top_overall,
    largest_entries,
    magnitude_mask,
    pack_model,
)


class ZeroFLConfig(AlgorithmConfig):
    """Options of ZeroFL."""

    mask_ratio: float = Field(0.1, ge=0.0, le=1.0, description="r_mask, share of weights sent beyond 1 - sp")
    rank: Literal["weights", "changes"] = Field(
        "changes", description="send the largest weights, or those that have changed most"
    )
    average: Literal["change", "covered", "all"] = Field(
        "change", description="mean change, mean over the clients that sent a weight, or over all with 0"
    )


@final
class ZeroFL(Algorithm[ServerState, None]):
    """FedAvg with sparse forward and backward passes, and sparse uploads."""

    Config: ClassVar[type[AlgorithmConfig]] = ZeroFLConfig
    config: ZeroFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="each round",
        density="fixed",
        payload="positions of the weights, up",
        citations=(references.ZEROFL,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="dmean", default_density=0.1, default_allocation="uniform", upload_mask="own"
    )

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: the model travels dense to the clients."""
        return 1.0

    def aggregator(self) -> Aggregator:
        """The average that `average` selects."""
        match self.config.average:
            case "change":
                return AGGREGATORS["dmean"]()
            case "covered":
                return AGGREGATORS["covmean"]()
            case "all":
                return AGGREGATORS["wmean"]()

    def load(self, run: LocalRun[None]) -> None:
        """Load the dense model, with layers that use their largest weights and activations."""
        run.load(run.start, None)
        density = self.density(run.task.round_idx)
        layers = [s.name.rpartition(".")[0] for s in self.setting.layout.maskable]

        def weights(name: str, weight: Tensor) -> Tensor:
            if name == layers[0]:
                return weight
            return weight + (largest_entries(weight, density) - weight).detach()

        def share(name: str, weight: Tensor) -> float:
            return 1.0 if name == layers[0] else density

        add_sparse_backward(run.own_module(), weights, share)
        run.flat.module.train()
        used = magnitude_mask(self.setting.layout, run.values.cpu(), self.used_counts(density))
        run.flops.set_mask(run.layout, used)

    def used_counts(self, density: float) -> dict[str, int]:
        """Weights that each layer uses: all of the first one, ceil(density n) of the others' n."""
        first, *others = self.setting.layout.maskable
        exact = exact_share(density)
        return {first.name: first.size} | {s.name: max(1, -int(-exact * s.size // 1)) for s in others}

    def pack(self, run: LocalRun[None]) -> Payload:
        """The chosen weights at their new values."""
        layout, values = self.setting.layout, run.values.detach().cpu()
        ranked = values if self.config.rank == "weights" else values - run.start.cpu()
        share = min(
            exact_share(1),
            exact_share(self.density(run.task.round_idx)) + exact_share(self.config.mask_ratio),
        )
        count = round(share * layout.num_maskable)
        return (
            pack_model(layout, values, keep_top_overall(layout, layout.restrict(ranked.abs()), count, 1)),
        )
