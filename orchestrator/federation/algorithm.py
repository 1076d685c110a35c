"""The Algorithm contract: FedAvg, with a hook at every place where a method may differ.

An algorithm object holds only its frozen config and setting. What survives a round lives in the server state
`S` or in the client state `C`, both plain trees of tensors and numbers (frozen dataclasses, mappings, tuples),
so that checkpoints need no code of the method's own. No hook may write into a tensor it was given, except
through `LocalRun`, which belongs to one task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar, cast, final

import torch
from torch import Tensor

from orchestrator.config import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, AggregationName, Aggregator
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.local import Batch, LocalRun, Setting, train
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import LocalResult
from orchestrator.fleet.selection import draw_uniform
from orchestrator.sparsity.payload import Payload
from orchestrator.sparsity.schedules import level_at


@dataclass(frozen=True, kw_only=True, eq=False)
class ServerState:
    """What the server carries from round to round: float32[D] `params`, and bool[D] `mask` (None: dense)."""

    params: Tensor
    mask: Tensor | None = None


S = TypeVar("S", bound=ServerState)
C = TypeVar("C")


class Algorithm(Generic[S, C]):
    """Base of every method; on its own it is FedAvg."""

    #: the method's options; a subclass of AlgorithmConfig beside the method
    Config: ClassVar[type[AlgorithmConfig]] = AlgorithmConfig
    #: which of the four averages the server takes (see federation/aggregate.py)
    aggregation: ClassVar[AggregationName] = "wmean"
    #: sparsity level when `sparsity.level` is unset; None marks a dense method, which refuses any other than 0
    default_level: ClassVar[float | None] = None
    #: whether the method follows a moving `sparsity.schedule`
    follows_schedule: ClassVar[bool] = False

    @final
    def __init__(self, config: AlgorithmConfig, setting: Setting) -> None:
        """Raises ConfigError for a sparsity setting that the method cannot follow."""
        self.config, self.setting = config, setting
        level, schedule = setting.sparsity.level, setting.sparsity.schedule
        if self.default_level is None and level:
            raise ConfigError(
                "sparsity.level", level, f"{config.name} is a dense method", "leave it unset or 0"
            )
        if not self.follows_schedule and schedule.kind != "constant":
            raise ConfigError(
                "sparsity.schedule.kind", schedule.kind, f"{config.name} keeps its sparsity", "use constant"
            )
        self.check()

    def check(self) -> None:
        """Raise ConfigError for options that do not fit one another or the setting; nothing by default."""

    @final
    def level(self, round_idx: int) -> float:
        """Sparsity level (1 - density) that the schedule asks for in this round."""
        sparsity = self.setting.sparsity
        level = sparsity.level if sparsity.level is not None else self.default_level or 0.0
        return level_at(sparsity.schedule, level, round_idx, self.setting.training.rounds)

    # Server hooks

    def init(self, params: Tensor) -> S:
        """Server state before round 0, from the initial float32[D] vector."""
        return cast(S, ServerState(params=params))

    def init_client(self, client_id: int) -> C:
        """What a client holds before its first participation; None for a stateless method."""
        return cast(C, None)

    def select(self, state: S, round_idx: int) -> tuple[int, ...]:
        """Ids of the clients drawn for this round: uniform, without replacement unless configured."""
        training = self.setting.training
        rng = stream(self.setting.seed, "server", round_idx, "selection")
        return draw_uniform(
            self.setting.num_clients,
            training.clients_per_round,
            rng,
            with_replacement=training.with_replacement,
        )

    def plan(self, state: S, round_idx: int) -> RoundPlan:
        """The round's tasks; by default every selected client trains."""
        tasks = (
            ClientTask(round_idx=round_idx, position=position, client_id=client_id)
            for position, client_id in enumerate(self.select(state, round_idx))
        )
        return RoundPlan(round_idx, tuple(tasks))

    def broadcast(self, state: S) -> Payload:
        """What the server sends to every client of the round: the model under the server's mask."""
        return (pack_model(self.setting.layout, state.params, state.mask),)

    def aggregator(self) -> Aggregator:
        """An empty fold for one round."""
        return AGGREGATORS[self.aggregation]()

    def weight(self, num_examples: int) -> float:
        """a_k, a client's weight in the average: its number of training images."""
        return float(num_examples)

    def server_update(self, state: S, aggregate: Aggregate, round_idx: int) -> S:
        """The next server state; rounding to float32 happens here, once."""
        return replace(state, params=aggregate.values.to(torch.float32))

    def server_metrics(self, before: S, aggregate: Aggregate, after: S) -> Mapping[str, float]:
        """What the method adds to the round's metrics (names in tracking/record.py); nothing by default."""
        return {}

    # Client hooks

    @final
    def client_update(self, run: LocalRun[C]) -> LocalResult[C]:
        """One task from the received model to the packed update; methods fill the hooks it calls."""
        self.load(run)
        self.on_train_start(run)
        train(run, self)
        self.after_train(run)
        if not bool(torch.isfinite(run.values).all()):
            raise FloatingPointError(
                "the trained parameters are not finite; lower training.lr or set clip_norm"
            )
        return LocalResult(
            payload=self.pack(run),
            num_examples=len(run.data),
            train_flops=run.train_flops,
            train_flops_dense=run.train_flops_dense,
            client_state=run.state,
            metrics=run.metrics,
        )

    def load(self, run: LocalRun[C]) -> None:
        """Put the received values and mask into the model."""
        run.load(run.start, run.received_mask)

    def on_train_start(self, run: LocalRun[C]) -> None:
        """Called once before the first epoch."""

    def step(self, run: LocalRun[C], batch: Batch) -> None:
        """One optimiser step on one mini-batch."""
        run.backward(batch)
        self.grad_hook(run)
        run.apply_gradient()

    def grad_hook(self, run: LocalRun[C]) -> None:
        """Change `run.grad` (float32[T]) before it is masked, clipped and applied."""

    def on_epoch(self, run: LocalRun[C], epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""

    def after_train(self, run: LocalRun[C]) -> None:
        """Called once after the last epoch."""

    def pack(self, run: LocalRun[C]) -> Payload:
        """What the client uploads: its values under its mask."""
        return (pack_model(self.setting.layout, run.values, run.mask),)


AnyAlgorithm = Algorithm[Any, Any]
AlgorithmType = type[AnyAlgorithm]
