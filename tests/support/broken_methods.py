"""Methods that break one rule each, to test that the checks detect them."""

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
    """Counts its rounds in an attribute of the method."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        self.num_rounds = round_idx + 1
        return super().server_update(state, aggregate, round_idx)


class Unseeded(Algorithm[ServerState, None]):
    """Adds noise from an unseeded generator."""

    def grad_hook(self, run: Run) -> None:
        run.grad.add_(float(np.random.default_rng().normal()), alpha=1e-3)


class RemembersInTheProcess(Algorithm[ServerState, None]):
    """Stores the weights of the previous task, of any client, on the model object."""

    def load(self, run: Run) -> None:
        super().load(run)
        run.values.add_(getattr(run.flat, "previous", torch.zeros_like(run.values)), alpha=1e-3)

    def after_train(self, run: Run) -> None:
        run.flat.previous = run.values.clone()  # type: ignore[attr-defined]


class WritesIntoTheState(Algorithm[ServerState, None]):
    """Averages in place, into the server state."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        state.params.mul_(0.5).add_(aggregate.values, alpha=0.5)
        return ServerState(params=state.params)


class WritesIntoTheReceived(Algorithm[ServerState, None]):
    """Scales the received model in place."""

    def after_train(self, run: Run) -> None:
        run.start.mul_(0.5)


class WritesIntoTheClientState(Algorithm[ServerState, Tensor]):
    """Updates the client state in place."""

    def init_client(self, client_id: int) -> Tensor:
        return torch.zeros(self.setting.layout.size)

    def after_train(self, run: Run) -> None:
        run.state.add_(run.values)


class Masked(Algorithm[ServerState, None]):
    """A correct method, which keeps the last half of each layer. Base class of four broken methods."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=0.5)

    def init(self, params: Tensor) -> ServerState:
        mask = self.setting.layout.full_mask()
        for segment in self.setting.layout.maskable:
            mask[segment.offset : segment.offset + segment.size // 2] = False
        return ServerState(params=params * mask, mask=mask)


class StepsOutOfTheMask(Masked):
    """Adds a constant to all weights after each step."""

    def step(self, run: Run, batch: Batch) -> None:
        super().step(run, batch)
        run.values.add_(1e-3)

    def after_train(self, run: Run) -> None:
        run.set_mask(run.mask)


class LeavesTheServerDense(Masked):
    """Adds a constant to all weights at the server, without the mask."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        return ServerState(params=(aggregate.values + 1e-3).to(torch.float32), mask=state.mask)


class SendsTooMuch(Masked):
    """Declares a density of one half, but sends nine tenths of the weights."""

    def init(self, params: Tensor) -> ServerState:
        mask = self.setting.layout.full_mask()
        for segment in self.setting.layout.maskable:
            mask[segment.offset : segment.offset + segment.size // 10] = False
        return ServerState(params=params * mask, mask=mask)


class Personal(Algorithm[ServerState, Tensor]):
    """A correct method: each client keeps and uses its last trained model. Base class of three broken methods."""

    traits = Traits(personal=True)

    def init_client(self, client_id: int) -> Tensor:
        return torch.from_numpy(self.setting.initial.copy())

    def after_train(self, run: Run) -> None:
        run.state = run.values.clone()

    def personal(self, run: Run) -> None:
        run.load(run.state, None)


class ScoringWritesIntoTheClientState(Personal):
    """Adds the received model to the client's own model in place, before the score."""

    def personal(self, run: Run) -> None:
        run.load(run.state.add_(run.start), None)


class ScoringChangesTheProcess(Personal):
    """Adds the scored model to the initial weights of the next task."""

    def load(self, run: Run) -> None:
        super().load(run)
        run.values.add_(getattr(run.flat, "scored", torch.zeros_like(run.values)), alpha=1e-3)

    def personal(self, run: Run) -> None:
        super().personal(run)
        run.flat.scored = run.values.clone()  # type: ignore[attr-defined]


class ScoresAnotherModelEachTime(Personal):
    """Negates the model of a client in every second score."""

    num_scores: ClassVar[list[int]] = [0]

    def personal(self, run: Run) -> None:
        self.num_scores[0] += 1
        run.load(run.state if self.num_scores[0] % 2 else -run.state, None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ListState(ServerState):
    """A server state with a list, which no checkpoint supports."""

    history: list[int] = field(default_factory=list)


class KeepsAList(Algorithm[ListState, None]):
    """Stores a list in the server state."""

    def init(self, params: Tensor) -> ListState:
        return ListState(params=params)


class SharesAcrossRuns(Algorithm[ServerState, None]):
    """Counts steps in a class attribute, which all runs of a process share."""

    num_steps: ClassVar[list[int]] = [0]

    def grad_hook(self, run: Run) -> None:
        self.num_steps[0] += 1
        run.grad.mul_(1.0 + 1e-3 * self.num_steps[0])


class SendsAnotherMask(Masked):
    """Declares that it keeps the received mask, but sends the first half of each layer."""

    def after_train(self, run: Run) -> None:
        assert run.mask is not None
        mask = run.mask.clone()
        for segment in self.setting.layout.maskable:
            mask[segment.slice] = ~mask[segment.slice]
        run.set_mask(mask)


class ForgetsItsTemplate(Algorithm[ServerState, None]):
    """Client 1 returns a state, although no client starts with one."""

    def after_train(self, run: Run) -> None:
        if run.task.client_id == 1:
            run.state = {"seen": run.values.clone()}
