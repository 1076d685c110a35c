"""Methods that each break one promise, to show that the suite sees it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.traits import Traits

Run = LocalRun[Any]


class Remembers(Algorithm[ServerState, None]):
    """Counts its rounds on itself."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        self.num_rounds = round_idx + 1
        return super().server_update(state, aggregate, round_idx)


class Unseeded(Algorithm[ServerState, None]):
    """Adds noise that no seed decides."""

    def grad_hook(self, run: Run) -> None:
        run.grad.add_(float(np.random.default_rng().normal()), alpha=1e-3)


class RemembersInTheHost(Algorithm[ServerState, None]):
    """Keeps the previous task's weights beside the model, whichever client had it."""

    def load(self, run: Run) -> None:
        super().load(run)
        run.values.add_(getattr(run.flat, "previous", torch.zeros_like(run.values)), alpha=1e-3)

    def after_train(self, run: Run) -> None:
        run.flat.previous = run.values.clone()  # type: ignore[attr-defined]


class WritesIntoTheState(Algorithm[ServerState, None]):
    """Averages in place."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        state.params.mul_(0.5).add_(aggregate.values, alpha=0.5)
        return ServerState(params=state.params)


class WritesIntoTheReceived(Algorithm[ServerState, None]):
    """Shrinks the model it was sent."""

    def after_train(self, run: Run) -> None:
        run.start.mul_(0.5)


class WritesIntoTheClientState(Algorithm[ServerState, Tensor]):
    """Updates what a client keeps in place."""

    def init_client(self, client_id: int) -> Tensor:
        return torch.zeros(self.setting.layout.size)

    def after_train(self, run: Run) -> None:
        run.state.add_(run.values)


class Masked(Algorithm[ServerState, None]):
    """Keeps the first half of each layer. Correct; base of the two below."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=0.5)

    def init(self, params: Tensor) -> ServerState:
        mask = self.setting.layout.full_mask()
        for segment in self.setting.layout.maskable:
            mask[segment.offset : segment.offset + segment.size // 2] = False
        return ServerState(params=params * mask, mask=mask)


class StepsOutOfTheMask(Masked):
    """Adds noise to all weights after each step."""

    def step(self, run: Run, batch: Batch) -> None:
        super().step(run, batch)
        run.values.add_(1e-3)

    def after_train(self, run: Run) -> None:
        run.set_mask(run.mask)


class LeavesTheServerDense(Masked):
    """Forgets to mask what it adds at the server."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        return ServerState(params=(aggregate.values + 1e-3).to(torch.float32), mask=state.mask)


class SendsTooMuch(Masked):
    """Says half, sends nine tenths."""

    def init(self, params: Tensor) -> ServerState:
        mask = self.setting.layout.full_mask()
        for segment in self.setting.layout.maskable:
            mask[segment.offset : segment.offset + segment.size // 10] = False
        return ServerState(params=params * mask, mask=mask)


class Personal(Algorithm[ServerState, Tensor]):
    """Clients keep what they trained last, and use it. Correct; base of the three below."""

    traits = Traits(personal=True)

    def init_client(self, client_id: int) -> Tensor:
        return torch.from_numpy(self.setting.initial.copy())

    def after_train(self, run: Run) -> None:
        run.state = run.values.clone()

    def personal(self, run: Run) -> None:
        run.load(run.state, None)


class ScoringWritesIntoTheClientState(Personal):
    """Mixes what it received into its own model, in place, to be scored."""

    def personal(self, run: Run) -> None:
        run.load(run.state.add_(run.start), None)


class ScoringLeavesSomethingInTheHost(Personal):
    """What is scored is added to what the next task starts from."""

    def load(self, run: Run) -> None:
        super().load(run)
        run.values.add_(getattr(run.flat, "scored", torch.zeros_like(run.values)), alpha=1e-3)

    def personal(self, run: Run) -> None:
        super().personal(run)
        run.flat.scored = run.values.clone()  # type: ignore[attr-defined]


class ScoresAnotherModelEachTime(Personal):
    """Every second time it is asked, a client shows its model with all signs changed."""

    num_scores: ClassVar[list[int]] = [0]

    def personal(self, run: Run) -> None:
        self.num_scores[0] += 1
        run.load(run.state if self.num_scores[0] % 2 else -run.state, None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ListState(ServerState):
    """Not a plain tree."""

    history: list[int] = field(default_factory=list)


class KeepsAList(Algorithm[ListState, None]):
    """Carries a list, which no commit holds."""

    def init(self, params: Tensor) -> ListState:
        return ListState(params=params)


class SharesAcrossRuns(Algorithm[ServerState, None]):
    """A class attribute grows over the whole process."""

    num_steps: ClassVar[list[int]] = [0]

    def grad_hook(self, run: Run) -> None:
        self.num_steps[0] += 1
        run.grad.mul_(1.0 + 1e-3 * self.num_steps[0])
