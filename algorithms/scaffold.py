"""SCAFFOLD: control variates correct the drift of the clients.

Control variates c and c_k correct the drift of the clients: every step uses the gradient g - c_k + c. After K steps
the client sets c_k to the mean gradient of its steps. The server takes w <- w + eta_g mean(w_k - w) and
c <- c + (1/N) sum(c_k's change), over the S participants of N clients, all with equal weight.

Symbols: c = state.control, c_k = client_state.control, eta_g = algorithm.server_lr, N = fleet.num_clients.

Deviations: the paper's option II, c_k - c + (w - w_k) / (K eta), is the mean of the steps' gradients if the steps are
plain SGD. Here the client takes this mean directly, so that momentum, clipping and weight decay leave c_k correct.
Running statistics are averaged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    ServerState,
    Traits,
    as_sent,
    find_values,
)

CONTROL = "control"


class ScaffoldConfig(AlgorithmConfig):
    """Options of SCAFFOLD."""

    server_lr: float = Field(1.0, gt=0.0, description="eta_g, learning rate of the server")


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaffoldState(ServerState):
    """Adds the server's control variate c, float64[T]."""

    control: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaffoldClient:
    """State of a client: its control variate c_k, float32[T]."""

    control: Tensor


@dataclass(eq=False)
class ControlledTask:
    """Values of one task: c - c_k, the sum of the steps' gradients, both float32[T], and the number of steps."""

    correction: Tensor
    gradient_sum: Tensor
    num_steps: int = 0


@final
class Scaffold(Algorithm[ScaffoldState, ScaffoldClient]):
    """FedAvg with control variates against client drift."""

    Config: ClassVar[type[AlgorithmConfig]] = ScaffoldConfig
    config: ScaffoldConfig
    traits: ClassVar[Traits] = Traits(payload="c down, change of c_k up", citations=(references.SCAFFOLD,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True, exact_values=True)

    def init(self, params: Tensor) -> ScaffoldState:
        """c starts at 0."""
        zeros = torch.zeros(self.setting.layout.num_trainable, dtype=torch.float64)
        return ScaffoldState(params=params, control=zeros)

    def init_client(self, client_id: int) -> ScaffoldClient:
        """c_k starts at 0."""
        return ScaffoldClient(control=torch.zeros(self.setting.layout.num_trainable))

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def broadcast(self, state: ScaffoldState) -> Payload:
        """The model and c."""
        return (*super().broadcast(state), Dense(CONTROL, state.control.to(torch.float32).numpy()))

    def on_train_start(self, run: LocalRun[ScaffoldClient]) -> None:
        """Compute the correction c - c_k once for the task."""
        control = torch.tensor(find_values(run.payload, CONTROL))
        correction = (control - run.state.control).to(run.values.device)
        run.put_scratch(ControlledTask(correction, torch.zeros_like(run.grad)))

    def grad_hook(self, run: LocalRun[ScaffoldClient]) -> None:
        """Record the gradient, then correct it."""
        task = run.scratch(ControlledTask)
        task.gradient_sum.add_(run.grad)
        task.num_steps += 1
        run.grad.add_(task.correction)

    def pack(self, run: LocalRun[ScaffoldClient]) -> Payload:
        """The model and the change of c_k, which becomes the mean gradient of the task's steps."""
        task = run.scratch(ControlledTask)
        mean = (task.gradient_sum / task.num_steps).cpu()
        change = as_sent(mean - run.state.control, self.setting.value_dtype)
        run.state = ScaffoldClient(control=run.state.control + change)
        return (*super().pack(run), Dense(CONTROL, change.numpy()))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The model, and the change of c_k for each trained parameter."""
        control = ItemForm(kinds=(Dense,), size=self.setting.layout.num_trainable)
        return {**super().upload_items(task), CONTROL: control}

    def server_update(self, state: ScaffoldState, aggregate: Aggregate, round_idx: int) -> ScaffoldState:
        """Step from w towards the mean model, and move c by the participants' share of the population."""
        num_trainable = self.setting.layout.num_trainable
        params = aggregate.step_from(state.params, num_trainable, self.config.server_lr)
        share = aggregate.num_updates / self.setting.num_clients
        control = state.control + share * aggregate.extras[CONTROL]
        return ScaffoldState(params=params.to(torch.float32), control=control)
