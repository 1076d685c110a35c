"""The contract of every method: FedAvg, with a hook at each place where a method may differ.

An algorithm object contains only its frozen config and setting. State that survives a round is in the server state `S`
or in a client state `C`. Both are plain trees of tensors and numbers (frozen dataclasses, mappings, tuples), so that
checkpoints need no code of the method's own.

Rules for hooks:

- A hook never writes into a tensor that it receives, except through `LocalRun`, which belongs to one task.
- A server hook reads in a client's state only what both ends know: what the client sent before, or what both can
  derive from the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, Aggregator
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, pack_model, unpack_model
from orchestrator.federation.item_form import MODEL_FORM, ItemForm
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.training import train
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.setting import Setting
from orchestrator.federation.traits import Traits
from orchestrator.federation.update import LocalResult
from orchestrator.sparsity.allocation import implied_density
from orchestrator.sparsity.payload import Payload
from orchestrator.sparsity.schedules import schedule_progress


@dataclass(frozen=True, kw_only=True, eq=False)
class ServerState:
    """What the server keeps from round to round: float32[D] `params`, and bool[D] `mask` (None: dense)."""

    params: Tensor
    mask: Tensor | None = None


S = TypeVar("S", bound=ServerState)
C = TypeVar("C")


class Algorithm(Generic[S, C]):
    """Base of every method; on its own it is FedAvg.

    Most methods override a few of the six usual hooks: `init`, `init_client`, `loss` or `grad_hook`, `on_epoch`,
    `after_train` and `server_update`. The hooks stand in three groups below:

    - training and server step: what clients train, and what the server makes of their average;
    - communication: what travels in both directions, and how the server averages it;
    - planning, probing and scoring: who trains, questions before training, and the models that clients are scored with.
    """

    #: the method's options; a subclass of AlgorithmConfig in the method's file
    Config: ClassVar[type[AlgorithmConfig]] = AlgorithmConfig
    #: the method's row in docs/algorithms.md
    traits: ClassVar[Traits] = Traits()
    #: what the method supports, and which average the server takes
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises TypeError for a capability that is a class attribute, where no code reads it."""
        super().__init_subclass__(**options)
        if misplaced := [f.name for f in fields(Capabilities) if f.name in vars(cls)]:
            raise TypeError(
                f"{cls.__name__}.{misplaced[0]} has no effect; set it in {cls.__name__}.capabilities"
            )

    @final
    def __init__(self, config: AlgorithmConfig, setting: Setting) -> None:
        """Raises ConfigError for a sparsity setting that the method does not support."""
        sparsity = setting.sparsity
        if sparsity.allocation is None:
            sparsity = sparsity.model_copy(update={"allocation": self.capabilities.default_allocation})
        self.config, self.setting = config, replace(setting, sparsity=sparsity)
        self._check_sparsity()
        self.check()

    def _check_sparsity(self) -> None:
        name, sparsity, can = self.config.name, self.setting.sparsity, self.capabilities
        if can.default_density is None and sparsity.level:
            problem = f"{name} is a dense method"
            raise ConfigError("sparsity.level", sparsity.level, problem, "leave it unset or 0")
        if can.default_density is None and sparsity.layer_density:
            problem = f"{name} is a dense method"
            raise ConfigError("sparsity.layer_density", sparsity.layer_density, problem, "leave it empty")
        if not can.density_schedule and sparsity.schedule.kind != "constant":
            problem = f"{name} keeps its sparsity constant"
            raise ConfigError("sparsity.schedule.kind", sparsity.schedule.kind, problem, "use constant")
        if not can.device_densities and sparsity.device_levels:
            problem = f"all clients of {name} have the same sparsity"
            raise ConfigError("sparsity.device_levels", sparsity.device_levels, problem, "leave it empty")
        names = [profile.name for profile in self.setting.profiles]
        if unknown := [profile for profile in sparsity.device_levels if profile not in names]:
            problem = f"the fleet's profiles are {', '.join(names)}"
            level = sparsity.device_levels[unknown[0]]
            raise ConfigError(f"sparsity.device_levels.{unknown[0]}", level, problem, "name one of these")

    # Properties of a method under its options

    @property
    def has_client_models(self) -> bool:
        """Whether clients use other models than the global one, so that each client must be scored separately."""
        return self.traits.personal or self.capabilities.submodels

    @property
    def has_steady_cost(self) -> bool:
        """Whether `capabilities.steady_cost` is true under these options."""
        return self.capabilities.steady_cost and self.setting.sparsity.schedule.kind == "constant"

    @property
    def needs_validation(self) -> bool:
        """Whether clients measure validation accuracy, so that each client needs validation samples."""
        return False

    @property
    def uses_last_layer(self) -> bool:
        """Whether the method takes the model's last weight layer for the one that computes the logits."""
        return False

    @classmethod
    def depends_on_devices(cls, config: AlgorithmConfig) -> bool:
        """Whether a client's device decides what the client trains or sends, and not only how fast it is."""
        return False

    def check(self) -> None:
        """Raise ConfigError for options that contradict each other or the setting; by default nothing."""

    def warnings(self, num_samples: NDArray[np.int64]) -> tuple[str, ...]:
        """Lines for the user before round 0; `num_samples` int64[K] are the clients' training samples."""
        return ()

    @final
    def density(self, round_idx: int, client_id: int | None = None) -> float:
        """Density that the schedule asks for in this round; with `client_id`, that of the client's device."""
        sparsity, default = self.setting.sparsity, self.capabilities.default_density
        if sparsity.allocation == "explicit":
            initial: float | Fraction = implied_density(self.setting.layout, sparsity.layer_density)
        else:
            initial = 1.0 if default is None else default
        progress = schedule_progress(sparsity.schedule, round_idx, self.setting.training.rounds)
        profile = None if client_id is None else self.setting.profile_of(client_id, round_idx).name
        return sparsity.density_at(progress, initial, profile)

    def max_density(self, round_idx: int, client_id: int) -> float:
        """Largest density of the maskable weights that either end may send while this round trains."""
        if self.capabilities.default_density is None:
            return 1.0
        return max(self.density(r, client_id) for r in (max(0, round_idx - 1), round_idx))

    # Hooks 1: training and server step

    def init(self, params: Tensor) -> S:
        """Server state before round 0, from the initial float32[D] vector."""
        return cast(S, ServerState(params=params))

    def init_client(self, client_id: int) -> C:
        """State of a client before its first task; None for a stateless method."""
        return cast(C, None)

    def check_client_state(self, client_state: C) -> None:
        """Raise ValueError for a returned client state that the server's hooks cannot use. By default all are accepted.

        The driver calls this hook for every update, after it has checked paths, types, dtypes, shapes and finite
        numbers.
        """

    def load(self, run: LocalRun[C]) -> None:
        """Load the received values and mask into the model."""
        run.load(run.start, None if run.received is None else run.received.mask)

    def on_train_start(self, run: LocalRun[C]) -> None:
        """Called once before the first epoch."""

    def step(self, run: LocalRun[C], batch: Batch) -> None:
        """Take one optimiser step on one mini-batch."""
        run.backward(batch, partial(self.loss, run))
        self.grad_hook(run)
        run.apply_gradient()

    def loss(self, run: LocalRun[C], logits: Tensor, labels: Tensor) -> Tensor:
        """Loss that a step minimises, from logits float32[B, classes] and labels int64[B]: the cross-entropy."""
        return cross_entropy(logits, labels)

    def grad_hook(self, run: LocalRun[C]) -> None:
        """Change `run.grad` before the run masks, clips and applies it."""

    def on_batch(self, run: LocalRun[C], batches_done: int) -> None:
        """Called after each step; `batches_done` counts from 1 in every epoch, up to `run.num_batches`."""

    def on_epoch(self, run: LocalRun[C], epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""

    def after_train(self, run: LocalRun[C]) -> None:
        """Called once after the last epoch. Afterwards `run.values` are packed, and scored as the trained model."""

    def server_update(self, state: S, aggregate: Aggregate, round_idx: int) -> S:
        """The next server state, from the round's average; values are rounded to float32 here, once."""
        return replace(state, params=aggregate.values.to(torch.float32))

    def server_metrics(self, before: S, aggregate: Aggregate, after: S) -> Mapping[str, float]:
        """The method's own metrics of the round (names in tracking/record.py); by default none."""
        return {}

    @final
    def client_update(self, run: LocalRun[C]) -> LocalResult[C]:
        """One task from the received model to the packed update. The method fills the hooks that this calls."""
        if run.task.kind == "probe":
            self.load(run)
            return self._result(run, self.on_probe(run))
        self.begin_training(run)
        train(run, self)
        return self.finish_training(run)

    @final
    def begin_training(self, run: LocalRun[C]) -> None:
        """The part of a training task before the first epoch."""
        self.load(run)
        self.on_train_start(run)

    @final
    def finish_training(self, run: LocalRun[C]) -> LocalResult[C]:
        """The part of a training task after the last epoch: from the trained model to the packed update."""
        self.after_train(run)
        return self._result(run, self.pack(run))

    def _result(self, run: LocalRun[C], payload: Payload) -> LocalResult[C]:
        run.require_finite()
        return LocalResult(
            payload=payload,
            num_examples=len(run.data),
            train_flops=run.flops.total,
            train_flops_dense=run.flops.total_dense,
            unmasked_flops=run.flops.total_unmasked,
            client_state=run.state,
            metrics=run.metrics,
        )

    # Hooks 2: communication

    def broadcast(self, state: S) -> Payload:
        """What the server sends to every client of a phase: the model under its mask."""
        return (pack_model(self.setting.layout, state.params, state.mask),)

    def unicast(self, state: S, task: ClientTask, client_state: C) -> Payload:
        """What the server sends to one client in addition to the broadcast; by default nothing."""
        return ()

    def neighbours(self, task: ClientTask) -> tuple[int, ...]:
        """Other clients from which this task's client receives messages (`relay`); by default none."""
        return ()

    def relay(self, task: ClientTask, neighbours: Mapping[int, C]) -> Payload:
        """What the `neighbours`, by client, send to this task's client, from their states; part of its unicast.

        As in every server hook, only values that a neighbour has sent or that the seed gives may be read.
        """
        return ()

    def upload_copies(self, task: ClientTask) -> int:
        """How many receivers the client itself sends its upload to, by which its bytes are billed; 1: the server."""
        return 1

    def shared_mask(self, client_state: C) -> Tensor | None:
        """bool[D] mask that both ends know, so that a unicast model under this mask need not repeat it."""
        return None

    def unpack(self, payload: Payload, task: ClientTask, client_state: C) -> ModelValues | None:
        """The model in a payload of either direction, in full coordinates; None for a payload without a model.

        `client_state` is the client's state before the task. A broadcast without a unicast must unpack to the same
        model for every client. Raises WireError for a model that does not fit.
        """
        return unpack_model(self.setting.layout, payload)

    def pack(self, run: LocalRun[C]) -> Payload:
        """What the client uploads: its values under its mask."""
        return (pack_model(self.setting.layout, run.values, run.mask),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The items that the client uploads for this task, by name: the model after training, nothing after a probe.

        The server rejects updates with other items. A method whose `pack` or `on_probe` sends more items names them
        here; an average needs items of the same size in all uploads.
        """
        return {MODEL_ITEM: MODEL_FORM} if task.kind == "train" else {}

    def aggregator(self) -> Aggregator:
        """An empty aggregator for one phase of a round."""
        return AGGREGATORS[self.capabilities.aggregation]()

    def weight(self, num_examples: int) -> float:
        """a_k, a client's weight in the average: its number of training samples."""
        return float(num_examples)

    # Hooks 3: planning, probing and scoring

    def plan(self, state: S, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan:
        """The round's training tasks: one for each client of the sampled cohort."""
        return RoundPlan.of(round_idx, cohort)

    def plan_probe(self, state: S, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Tasks of kind `probe` before the round trains. The driver calls this again after each probe, until None."""
        return None

    def on_probe(self, run: LocalRun[C]) -> Payload:
        """The client's answer to a probe."""
        raise NotImplementedError(f"{type(self).__name__} plans probes without an on_probe")

    def probe_update(self, state: S, aggregate: Aggregate, round_idx: int) -> S:
        """The server state after a probe."""
        raise NotImplementedError(f"{type(self).__name__} plans probes without a probe_update")

    def personal(self, run: LocalRun[C]) -> None:
        """Load the model that this client would use now; by default the received model.

        Called only for methods with `has_client_models`. Clients of other methods use the global model.
        """
        self.load(run)

    def load_for_fine_tuning(self, run: LocalRun[C]) -> None:
        """Load the model that this client would fine-tune. It has the model of `personal` loaded; by default that one.

        Called only for methods with `has_client_models`.
        """

    def client_logits(self, run: LocalRun[C], logits: Tensor) -> Tensor:
        """The logits that a client predicts with, from float32[B, classes] logits of its model: the same ones.

        Applies to every score of a client's own model. The global model's scores use its logits as they are.
        """
        return logits


AnyAlgorithm = Algorithm[Any, Any]
AlgorithmType = type[AnyAlgorithm]
