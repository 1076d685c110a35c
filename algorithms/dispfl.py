"""DisPFL: clients exchange sparse models with their neighbours, without a server model.

There is no server model. Every client has a mask of its own and trains in every round. It first averages each weight
over itself and its neighbours that have trained it, and keeps the weights inside its mask. After training it removes
the smallest weights of each layer, and as many others with the largest gradients grow.

Symbols: w_k, m_k = client_state.params and mask, alpha = algorithm.alpha, alpha_r = alpha / 2 (1 + cos(pi r / R)),
R = training.rounds, density = 1 - sparsity.level.

Seen: the abstract and the public code (rong-dai/DisPFL). Not seen: the paper's text.

Deviations:

- The server routes the messages. A client is billed for its model once for each neighbour that reads it, and for the
  model of each of its own neighbours.
- A weight is averaged over the clients whose mask contained it while they trained, as in the code. Weights that have
  just grown are 0 and would pull the average down.
- With `topology=random`, each client gets new random neighbours in each round, chosen from all clients, as in the code.
- `growth=gradient` reads one mini-batch after the last step.
- `eval/` metrics describe the average of all models, which no client uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    ClientTask,
    LocalRun,
    Masked,
    ModelValues,
    Payload,
    RoundPlan,
    ServerState,
    Traits,
    allocate,
    cosine_anneal,
    grow_top,
    keep_top,
    pack_model,
    random_mask,
    stream,
    unpack_model,
)


class DisPFLConfig(AlgorithmConfig):
    """Options of DisPFL."""

    topology: Literal["random", "ring", "full"] = Field(
        "random",
        description="a client's neighbours: random ones in each round, the two next ones, or all others",
    )
    num_neighbours: int = Field(
        10, ge=1, description="neighbours (topology=random); all others if there are fewer"
    )
    alpha: float = Field(
        0.5, ge=0.0, le=1.0, description="share of weights readjusted in round 0; 0: fixed masks"
    )
    growth: Literal["gradient", "random"] = Field(
        "gradient", description="grow the weights with the largest gradients, or random ones"
    )
    same_masks: bool = Field(False, description="all clients start with the same random mask")


@dataclass(frozen=True, kw_only=True, eq=False)
class DisPFLClient:
    """State of a client: w_k, float32[D]; the bool[D] mask under which it was trained, and m_k of the next round."""

    params: Tensor
    trained: Tensor
    mask: Tensor


@final
class DisPFL(Algorithm[ServerState, DisPFLClient]):
    """Sparse personal models that clients average with their neighbours'."""

    Config: ClassVar[type[AlgorithmConfig]] = DisPFLConfig
    config: DisPFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="dynamic",
        density="per device",
        personal=True,
        payload="models and masks between clients",
        citations=(references.DISPFL,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean",
        default_density=0.5,
        default_allocation="erk",
        device_densities=True,
        upload_mask="own",
    )

    def init_client(self, client_id: int) -> DisPFLClient:
        """A random mask over the initial model, of the density of the client's first device."""
        path = ("server",) if self.config.same_masks else ("client", client_id)
        counts = allocate(self.setting.layout, self.density(0, client_id), self.setting.sparsity)
        mask = random_mask(self.setting.layout, counts, stream(self.setting.seed, *path, "dispfl-mask"))
        params = torch.from_numpy(self.setting.initial.copy()) * mask
        return DisPFLClient(params=params, trained=mask, mask=mask)

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0

    def plan(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan:
        """All clients train in every round."""
        return RoundPlan.of(round_idx, tuple(range(self.setting.num_clients)))

    def sources(self, round_idx: int) -> NDArray[np.bool_]:
        """bool[N, N]: whether client i receives the model of client j in this round."""
        num_clients = self.setting.num_clients
        others = ~np.eye(num_clients, dtype=np.bool_)
        if self.config.topology == "full":
            return others
        if self.config.topology == "ring":
            step = np.eye(num_clients, k=1, dtype=np.bool_) | np.eye(
                num_clients, k=1 - num_clients, dtype=np.bool_
            )
            return (step | step.T) & others
        order = stream(self.setting.seed, "server", round_idx, "topology").random((num_clients, num_clients))
        ranks = np.where(others, order, np.inf).argsort(axis=1).argsort(axis=1)
        return (ranks < self.config.num_neighbours) & others

    def neighbours(self, task: ClientTask) -> tuple[int, ...]:
        """The clients whose models this client averages with its own."""
        if task.kind != "train":
            return ()
        return tuple(np.flatnonzero(self.sources(task.round_idx)[task.client_id]).tolist())

    def relay(self, task: ClientTask, neighbours: Mapping[int, DisPFLClient]) -> Payload:
        """Each neighbour's weights under the mask with which it trained."""
        items = []
        for client_id, neighbour in neighbours.items():
            item = pack_model(self.setting.layout, neighbour.params, neighbour.trained)
            assert isinstance(item, Masked)
            items.append(Masked(f"from-{client_id}", item.values, item.mask))
        return tuple(items)

    def upload_copies(self, task: ClientTask) -> int:
        """The clients that will average this model in the next round."""
        return int(self.sources(task.round_idx + 1)[:, task.client_id].sum())

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing: the server has no model."""
        return ()

    def unpack(self, payload: Payload, task: ClientTask, client_state: DisPFLClient) -> ModelValues | None:
        """The model of an upload; a download has no model of its own."""
        return unpack_model(self.setting.layout, payload)

    def load(self, run: LocalRun[DisPFLClient]) -> None:
        """Average each weight over the client and the neighbours that trained it, inside the client's mask."""
        total = run.state.params.to(torch.float64) * run.state.trained
        count = run.state.trained.to(torch.float64)
        for item in run.payload:
            assert isinstance(item, Masked)
            model = unpack_model(self.setting.layout, (Masked("theta", item.values, item.mask),))
            assert model is not None
            assert model.mask is not None
            total += model.values
            count += model.mask
        run.load((total / count.clamp(min=1.0)).to(torch.float32), run.state.mask)

    def after_train(self, run: LocalRun[DisPFLClient]) -> None:
        """Remove the smallest weights of each layer, and grow as many."""
        layout, mask = self.setting.layout, run.state.mask
        values = run.values.detach().cpu().clone()
        share = cosine_anneal(self.config.alpha, run.task.round_idx, self.setting.training.rounds)
        active = layout.active(mask)
        kept = {name: n - ceil(share * n) for name, n in active.items()}
        survivors = keep_top(layout, mask, values.abs(), kept)
        grown = grow_top(layout, survivors, self.growth_score(run), active)
        run.state = DisPFLClient(params=values, trained=mask, mask=grown)

    def growth_score(self, run: LocalRun[DisPFLClient]) -> Tensor:
        """float32[D]: the size of the gradient, or a random number, of each weight."""
        if self.config.growth == "random":
            rng = stream(self.setting.seed, *run.task.stream_path, "growth")
            return torch.from_numpy(rng.random(self.setting.layout.size, dtype=np.float32))
        score = torch.zeros(self.setting.layout.size)
        (gradient,) = run.sampled_gradients("growth", 1)
        score[: gradient.numel()] = gradient.abs().cpu()
        return score

    def personal(self, run: LocalRun[DisPFLClient]) -> None:
        """The client's own model after its last training."""
        run.load(run.state.params, run.state.trained)
