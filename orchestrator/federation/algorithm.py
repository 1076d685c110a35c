"""The Algorithm contract: FedAvg, with a hook at every place where a method may differ.

An algorithm object holds only its frozen config and setting. What survives a round lives in the server state
`S` or in the client state `C`, both plain trees of tensors and numbers (frozen dataclasses, mappings, tuples),
so that checkpoints need no code of the method's own. No hook may write into a tensor it was given, except
through `LocalRun`, which belongs to one task.

A server hook that is given a client state may read in it only what both ends know: what the client has sent
before, or what both can draw from the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.config.sections import AlgorithmConfig, AllocationKind
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, AggregationName, Aggregator
from orchestrator.federation.exchange import ModelValues, pack_model, unpack_model
from orchestrator.federation.local import Batch, LocalRun, train
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.setting import Setting
from orchestrator.federation.traits import Traits, UploadMask
from orchestrator.federation.update import LocalResult
from orchestrator.sparsity.allocation import implied_level
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
    #: the method's row in docs/algorithms.md
    traits: ClassVar[Traits] = Traits()
    #: which of the four averages the server takes (see federation/aggregate.py)
    aggregation: ClassVar[AggregationName] = "wmean"
    #: sparsity level when `sparsity.level` is unset; None marks a method without one, which refuses any but 0
    default_level: ClassVar[float | None] = None
    #: how density is shared out over the layers when `sparsity.allocation` is unset
    default_allocation: ClassVar[AllocationKind] = "erk_rescaled"
    #: whether the method follows a moving `sparsity.schedule`
    follows_schedule: ClassVar[bool] = False
    #: whether its clients may have different `sparsity.device_levels`
    follows_device_levels: ClassVar[bool] = False
    #: whether a training task costs at least `local_epochs` passes under the mask that its client receives, unless the
    #: schedule moves: asynchronous rounds then know a bound of its time, and let more trainings run side by side
    steady_cost: ClassVar[bool] = False
    #: the mask of an update: the one that its client received, one within it, or the client's own; others are refused
    upload_mask: ClassVar[UploadMask] = "received"
    #: whether the method cuts units, and `setting.units` must list them
    uses_units: ClassVar[bool] = False

    @final
    def __init__(self, config: AlgorithmConfig, setting: Setting) -> None:
        """Raises ConfigError for a sparsity setting that the method cannot follow."""
        sparsity = setting.sparsity
        if sparsity.allocation is None:
            sparsity = sparsity.model_copy(update={"allocation": self.default_allocation})
        self.config, self.setting = config, replace(setting, sparsity=sparsity)
        if self.default_level is None and sparsity.level:
            problem = f"{config.name} does not take a sparsity level"
            raise ConfigError("sparsity.level", sparsity.level, problem, "leave it unset or 0")
        if self.default_level is None and sparsity.layer_density:
            problem = f"{config.name} does not take layer densities"
            raise ConfigError("sparsity.layer_density", sparsity.layer_density, problem, "leave it empty")
        if not self.follows_schedule and sparsity.schedule.kind != "constant":
            problem = f"{config.name} keeps its sparsity"
            raise ConfigError("sparsity.schedule.kind", sparsity.schedule.kind, problem, "use constant")
        if not self.follows_device_levels and sparsity.device_levels:
            problem = f"the clients of {config.name} share one level"
            raise ConfigError("sparsity.device_levels", sparsity.device_levels, problem, "leave it empty")
        names = [profile.name for profile in setting.profiles]
        if unknown := [name for name in sparsity.device_levels if name not in names]:
            problem = f"the fleet's profiles are {', '.join(names)}"
            level = sparsity.device_levels[unknown[0]]
            raise ConfigError(f"sparsity.device_levels.{unknown[0]}", level, problem, "name one of these")
        self.check()

    @property
    def has_client_models(self) -> bool:
        """Whether clients use other models than the global one, so that each must be scored by itself."""
        return self.traits.personal or self.uses_units

    @property
    def has_steady_cost(self) -> bool:
        """Whether `steady_cost` holds under the options given."""
        return self.steady_cost and self.setting.sparsity.schedule.kind == "constant"

    @property
    def needs_validation(self) -> bool:
        """Whether clients ask for their accuracy on validation samples, of which each must then have some."""
        return False

    @classmethod
    def depends_on_devices(cls, config: AlgorithmConfig) -> bool:
        """Whether, under these options, its device decides what a client trains or sends, not only how fast it is."""
        return False

    def check(self) -> None:
        """Raise ConfigError for options that do not fit one another or the setting; nothing by default."""

    def warnings(self, num_samples: NDArray[np.int64]) -> tuple[str, ...]:
        """What the user should know before round 0, a line each; `num_samples` is each client's, for training."""
        return ()

    @final
    def level(self, round_idx: int, client_id: int | None = None) -> float:
        """Sparsity level (1 - density) that the schedule asks for in this round, of a client's device if given."""
        sparsity = self.setting.sparsity
        level = sparsity.level
        if level is None and sparsity.allocation == "explicit":
            level = implied_level(self.setting.layout, sparsity.layer_density)
        if level is None:
            level = self.default_level or 0.0
        if client_id is not None:
            level = sparsity.device_levels.get(self.setting.profile_of(client_id, round_idx).name, level)
        return level_at(sparsity.schedule, level, round_idx, self.setting.training.rounds)

    def max_density(self, round_idx: int, client_id: int) -> float:
        """Largest share of the maskable weights that either end may send when this round trains."""
        if self.default_level is None:
            return 1.0
        return 1.0 - min(self.level(r, client_id) for r in (max(0, round_idx - 1), round_idx))

    # Server hooks

    def init(self, params: Tensor) -> S:
        """Server state before round 0, from the initial float32[D] vector."""
        return cast(S, ServerState(params=params))

    def init_client(self, client_id: int) -> C:
        """What a client holds before its first participation; None for a stateless method."""
        return cast(C, None)

    def plan(self, state: S, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan:
        """The round's tasks; by default every client of the cohort, which was drawn for the round, trains."""
        return RoundPlan.of(round_idx, cohort)

    def plan_probe(self, state: S, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Tasks of kind `probe` to run before the round trains; asked again after each, until it is None."""
        return None

    def broadcast(self, state: S) -> Payload:
        """What the server sends to every client of a phase, the same for all: the model under its mask."""
        return (pack_model(self.setting.layout, state.params, state.mask),)

    def unicast(self, state: S, task: ClientTask, client_state: C) -> Payload:
        """What the server sends to one client beside the broadcast; nothing by default."""
        return ()

    def shared_mask(self, client_state: C) -> Tensor | None:
        """bool[D] mask that a client is known to hold, which a unicast model under it need not repeat."""
        return None

    def unpack(self, payload: Payload, task: ClientTask, client_state: C) -> ModelValues | None:
        """The model in what was sent, either way, in full coordinates; None where there is none.

        `client_state` is what the client had before the task. A broadcast that comes without a unicast must read
        the same for every client. Raises WireError for a model that does not fit.
        """
        return unpack_model(self.setting.layout, payload)

    def check_items(self, items: Payload, task: ClientTask) -> None:
        """Raise WireError for what a client sent beside its model if it is not what `pack` or `on_probe` sends.

        Nothing is checked by default; averages need items of one size (see federation.exchange.require_size).
        """

    def aggregator(self) -> Aggregator:
        """An empty fold for one phase of a round."""
        return AGGREGATORS[self.aggregation]()

    def weight(self, num_examples: int) -> float:
        """a_k, a client's weight in the average: its number of training samples."""
        return float(num_examples)

    def probe_update(self, state: S, aggregate: Aggregate, round_idx: int) -> S:
        """The server state after a probe."""
        raise NotImplementedError(f"{type(self).__name__} plans probes without a probe_update")

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
        if run.task.kind == "probe":
            payload = self.on_probe(run)
        else:
            self.on_train_start(run)
            train(run, self)
            self.after_train(run)
            payload = self.pack(run)
        run.require_finite()
        return LocalResult(
            payload=payload,
            num_examples=len(run.data),
            train_flops=run.train_flops,
            train_flops_dense=run.train_flops_dense,
            client_state=run.state,
            metrics=run.metrics,
        )

    def load(self, run: LocalRun[C]) -> None:
        """Put the received values and mask into the model."""
        run.load(run.start, None if run.received is None else run.received.mask)

    def on_probe(self, run: LocalRun[C]) -> Payload:
        """The answer to a probe."""
        raise NotImplementedError(f"{type(self).__name__} plans probes without an on_probe")

    def on_train_start(self, run: LocalRun[C]) -> None:
        """Called once before the first epoch."""

    def step(self, run: LocalRun[C], batch: Batch) -> None:
        """One optimiser step on one mini-batch."""
        run.backward(batch, partial(self.loss, run))
        self.grad_hook(run)
        run.apply_gradient()

    def loss(self, run: LocalRun[C], logits: Tensor, labels: Tensor) -> Tensor:
        """What a step minimises, from logits float32[B, classes] and labels int64[B]: the cross-entropy."""
        return cross_entropy(logits, labels)

    def grad_hook(self, run: LocalRun[C]) -> None:
        """Change `run.grad` before it is masked, clipped and applied."""

    def on_batch(self, run: LocalRun[C], batches_done: int) -> None:
        """Called after each step; `batches_done` counts from 1 in every epoch, up to `run.num_batches`."""

    def on_epoch(self, run: LocalRun[C], epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""

    def after_train(self, run: LocalRun[C]) -> None:
        """Called once after the last epoch; `run.values` are then packed, and scored as the trained model."""

    def pack(self, run: LocalRun[C]) -> Payload:
        """What the client uploads: its values under its mask."""
        return (pack_model(self.setting.layout, run.values, run.mask),)

    def personal(self, run: LocalRun[C]) -> None:
        """Put the model that this client would use now into `run`; what it received, by default.

        Called only where `has_client_models`; the clients of other methods use the global model.
        """
        self.load(run)


AnyAlgorithm = Algorithm[Any, Any]
AlgorithmType = type[AnyAlgorithm]
