"""Methods for tests, named as `tests.support.methods:Class`: methods with much state, and methods that fail."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig, SparsityConfig
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.seeds import stream
from orchestrator.federation.traits import Traits
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import magnitude_mask, random_mask
from orchestrator.sparsity.payload import Bits, Dense, Payload, Scalar


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """Client state of `Remembering`: float32[D] `drift`, the number of its tasks, and a loss for each round."""

    num_tasks: int
    drift: Tensor
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class RememberedState(ServerState):
    """A nested server state: float64[D] `mean`, `trace` by name, and `history`."""

    mean: Tensor
    trace: dict[str, Tensor]
    history: tuple[int, float]


@final
class Remembering(Algorithm[RememberedState, Memory]):
    """Every result depends on the states of server and clients; the mask changes in rounds 2, 4, ..."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=0.5)

    def _mask(self, number: int) -> Tensor:
        counts = allocate(self.setting.layout, self.density(0), self.setting.sparsity)
        return random_mask(self.setting.layout, counts, stream(self.setting.seed, "masks", number))

    def init(self, params: Tensor) -> RememberedState:
        mask = self._mask(0)
        return RememberedState(
            params=params * mask,
            mask=mask,
            mean=params.to(torch.float64),
            trace={"first": params[:3].clone()},
            history=(0, 0.0),
        )

    def init_client(self, client_id: int) -> Memory:
        return Memory(num_tasks=0, drift=torch.zeros(self.setting.layout.size), losses={})

    def grad_hook(self, run: LocalRun[Memory]) -> None:
        run.grad.add_(run.state.drift[: run.grad.numel()], alpha=0.1)

    def after_train(self, run: LocalRun[Memory]) -> None:
        before = run.state
        run.state = Memory(
            num_tasks=before.num_tasks + 1,
            drift=0.5 * before.drift + (run.values - run.start),
            losses={**before.losses, f"round {run.task.round_idx}": run.statistics.mean_loss()},
        )

    def server_update(self, state: RememberedState, aggregate: Aggregate, round_idx: int) -> RememberedState:
        mean = 0.9 * state.mean + 0.1 * aggregate.values
        mask = self._mask((round_idx + 1) // 2)
        params = (aggregate.values + 0.01 * mean).to(torch.float32) * mask
        return RememberedState(
            params=params,
            mask=mask,
            mean=mean,
            trace={**state.trace, f"round {round_idx}": params[:3].clone()},
            history=(state.history[0] + 1, aggregate.total_weight),
        )


class MisbehavingConfig(AlgorithmConfig):
    """The client that misbehaves, and the hook in which it does."""

    hook: Literal[
        "load", "on_train_start", "grad_hook", "on_batch", "on_epoch", "after_train", "pack", "encode"
    ] = Field("grad_hook", description="the hook that fails")
    client_id: int = Field(-1, description="the client whose hook fails; -1: none")
    kind: Literal["raise", "nan"] = Field("raise", description="an error, or parameters with NaN")


@final
class Misbehaving(Algorithm[ServerState, None]):
    """FedAvg in which one client raises an error in a hook, or trains to NaN."""

    Config: ClassVar[type[AlgorithmConfig]] = MisbehavingConfig
    config: MisbehavingConfig

    def _misbehave(self, hook: str, run: LocalRun[None]) -> None:
        if (hook, run.task.client_id) == (self.config.hook, self.config.client_id):
            if self.config.kind == "raise":
                raise ZeroDivisionError(f"in {hook}")
            run.values.fill_(float("nan"))

    def load(self, run: LocalRun[None]) -> None:
        super().load(run)
        self._misbehave("load", run)

    def on_train_start(self, run: LocalRun[None]) -> None:
        self._misbehave("on_train_start", run)

    def grad_hook(self, run: LocalRun[None]) -> None:
        self._misbehave("grad_hook", run)

    def on_batch(self, run: LocalRun[None], batches_done: int) -> None:
        self._misbehave("on_batch", run)

    def on_epoch(self, run: LocalRun[None], epochs_done: int) -> None:
        self._misbehave("on_epoch", run)

    def after_train(self, run: LocalRun[None]) -> None:
        self._misbehave("after_train", run)

    def pack(self, run: LocalRun[None]) -> Payload:
        self._misbehave("pack", run)
        model = pack_model(self.setting.layout, run.values, run.mask)
        if (self.config.hook, self.config.client_id) == ("encode", run.task.client_id):
            return (model, Scalar(model.name, 1.0))
        return (model,)


@final
class Recording(Algorithm[ServerState, Any]):
    """FedAvg whose clients keep the received model: float32[D] start and bool[D] mask."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=1.0)

    def init(self, params: Tensor) -> ServerState:
        if self.density(0) == 1.0:
            return ServerState(params=params)
        uniform = SparsityConfig(allocation="uniform")
        counts = allocate(self.setting.layout, self.density(0), uniform)
        mask = magnitude_mask(self.setting.layout, params, counts)
        return ServerState(params=params * mask, mask=mask)

    def init_client(self, client_id: int) -> Any:
        return {}

    def on_train_start(self, run: LocalRun[Any]) -> None:
        run.state = {"start": run.start.clone()}


@final
class Sharing(Algorithm[ServerState, Any]):
    """FedAvg whose clients and server keep one tensor in several places of their state."""

    def init(self, params: Tensor) -> ServerState:
        return TwinState(params=params, twin=params, views=(params[:5], params[3:9]))

    def init_client(self, client_id: int) -> Any:
        return {}

    def after_train(self, run: LocalRun[Any]) -> None:
        run.state = {"received": run.start, "again": run.start}

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        params = aggregate.values.to(torch.float32)
        return TwinState(params=params, twin=params, views=(params[:5], params[3:9]))


@dataclass(frozen=True, kw_only=True, eq=False)
class TwinState(ServerState):
    """A server state that contains the same memory four times."""

    twin: Tensor
    views: tuple[Tensor, Tensor]


@final
class Exploding(Algorithm[ServerState, None]):
    """FedAvg whose parameters exceed the range of float16 after round 1."""

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        scale = 1e9 if round_idx == 1 else 1.0
        return ServerState(params=(scale * aggregate.values).to(torch.float32))


@final
class Drawing(Algorithm[ServerState, Any]):
    """FedAvg whose clients keep three numbers of torch's global generator."""

    def init_client(self, client_id: int) -> Any:
        return {}

    def on_train_start(self, run: LocalRun[Any]) -> None:
        run.state = {"drawn": torch.rand(3)}


@final
class Moving(Algorithm[ServerState, None]):
    """The mean of the clients' changes from the models that they received."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="dmean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """The number of probes of a client of `Asking`, and the float32[D] model from which it last trained."""

    num_answers: int
    start: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedState(ServerState):
    """The number of rounds with a finished probe, and the float64 means of the last answers."""

    num_probed: int
    images: Tensor


@final
class Asking(Algorithm[AskedState, Answered]):
    """Before each even round, clients 4 and 1 are probed for their gradient, and the server takes a step."""

    def init(self, params: Tensor) -> AskedState:
        return AskedState(params=params, num_probed=0, images=torch.zeros((), dtype=torch.float64))

    def init_client(self, client_id: int) -> Answered:
        return Answered(num_answers=0, start=torch.zeros(self.setting.layout.size))

    def plan_probe(self, state: AskedState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        if round_idx % 2 or state.num_probed > round_idx:
            return None
        return RoundPlan.of(round_idx, (4, 1), "probe")

    def on_probe(self, run: LocalRun[Answered]) -> Payload:
        order = stream(self.setting.seed, "client", run.task.client_id, "order")
        gradient = run.dense_gradient(run.data.epoch(order))
        run.state = replace(run.state, num_answers=run.state.num_answers + 1)
        return (Dense("gradient", gradient.numpy()), Scalar("images", float(len(run.data))))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        if task.kind == "train":
            return super().upload_items(task)
        num_trainable = self.setting.layout.num_trainable
        return {"gradient": ItemForm(kinds=(Dense,), size=num_trainable), "images": ItemForm(kinds=(Scalar,))}

    def probe_update(self, state: AskedState, aggregate: Aggregate, round_idx: int) -> AskedState:
        params = aggregate.values.clone()
        gradient = aggregate.extras["gradient"]
        params[: gradient.numel()] -= 0.5 * gradient
        return AskedState(
            params=params.to(torch.float32), num_probed=round_idx + 1, images=aggregate.extras["images"]
        )

    def on_train_start(self, run: LocalRun[Answered]) -> None:
        run.state = replace(run.state, start=run.start.clone())


class TailoredConfig(AlgorithmConfig):
    """The period of the masks."""

    renew_every: int = Field(100, ge=1, description="rounds for which a client keeps its mask")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tailor:
    """Client state of `Tailored`: whether it has a mask, its last bool[D] mask, and its last model."""

    holds: bool
    mask: Tensor
    start: Tensor


@final
class Tailored(Algorithm[ServerState, Tailor]):
    """Each client gets its own half of the weights by unicast. The server adds the mean of the changes."""

    Config: ClassVar[type[AlgorithmConfig]] = TailoredConfig
    config: TailoredConfig
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="dmean", default_density=0.5)

    def mask(self, task: ClientTask) -> Tensor:
        counts = allocate(self.setting.layout, self.density(0), self.setting.sparsity)
        number = task.round_idx // self.config.renew_every
        rng = stream(self.setting.seed, "client", task.client_id, "mask", number)
        return random_mask(self.setting.layout, counts, rng)

    def init_client(self, client_id: int) -> Tailor:
        size = self.setting.layout.size
        return Tailor(holds=False, mask=torch.zeros(size, dtype=torch.bool), start=torch.zeros(size))

    def broadcast(self, state: ServerState) -> Payload:
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: Tailor) -> Payload:
        return (pack_model(self.setting.layout, state.params, self.mask(task)),)

    def shared_mask(self, client_state: Tailor) -> Tensor | None:
        return client_state.mask if client_state.holds else None

    def on_train_start(self, run: LocalRun[Tailor]) -> None:
        assert run.received is not None
        assert run.received.mask is not None
        run.state = Tailor(holds=True, mask=run.received.mask.clone(), start=run.start.clone())


@dataclass(frozen=True, kw_only=True, eq=False)
class VotedState(ServerState):
    """The float64 means of the items that the clients of `Voting` sent last."""

    votes: Tensor
    ids: Tensor


@final
class Voting(Algorithm[VotedState, None]):
    """Clients train, and send three bits and their id instead of a model."""

    def init(self, params: Tensor) -> VotedState:
        zero = torch.zeros((), dtype=torch.float64)
        return VotedState(params=params, votes=zero.expand(3).clone(), ids=zero)

    def pack(self, run: LocalRun[None]) -> Payload:
        k = run.task.client_id
        return Bits("votes", np.array([k % 2 == 0, k > 2, True])), Scalar("id", float(k))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        return {"votes": ItemForm(kinds=(Bits,), size=3), "id": ItemForm(kinds=(Scalar,))}

    def server_update(self, state: VotedState, aggregate: Aggregate, round_idx: int) -> VotedState:
        return VotedState(
            params=aggregate.values.to(torch.float32),
            votes=aggregate.extras["votes"],
            ids=aggregate.extras["id"],
        )


@final
class Stubborn(Algorithm[ServerState, int]):
    """A client predicts one class for every sample: its number plus the number of its tasks.

    Its accuracy is the share of this class, so that tests can count every score. It uploads the same model.
    """

    traits: ClassVar[Traits] = Traits(personal=True)

    def init_client(self, client_id: int) -> int:
        return 0

    def _always(self, label: int) -> Tensor:
        values = torch.zeros(self.setting.layout.size)
        values[values.numel() - 10 + label % 10] = 1.0
        return values

    def after_train(self, run: LocalRun[int]) -> None:
        run.state += 1
        run.load(self._always(run.task.client_id + run.state), None)

    def personal(self, run: LocalRun[int]) -> None:
        run.load(self._always(run.task.client_id + run.state), None)


@final
class Prompted(Algorithm[AskedState, int]):
    """`Stubborn` with a probe of client 39 before each round, after which this client predicts the next class."""

    traits: ClassVar[Traits] = Traits(personal=True)

    def init(self, params: Tensor) -> AskedState:
        return AskedState(params=params, num_probed=0, images=torch.zeros((), dtype=torch.float64))

    def init_client(self, client_id: int) -> int:
        return 0

    def plan_probe(self, state: AskedState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        return None if state.num_probed > round_idx else RoundPlan.of(round_idx, (39,), "probe")

    def on_probe(self, run: LocalRun[int]) -> Payload:
        run.state += 1
        return (Scalar("images", float(len(run.data))),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        return super().upload_items(task) if task.kind == "train" else {"images": ItemForm(kinds=(Scalar,))}

    def probe_update(self, state: AskedState, aggregate: Aggregate, round_idx: int) -> AskedState:
        return replace(state, num_probed=round_idx + 1)

    def server_update(self, state: AskedState, aggregate: Aggregate, round_idx: int) -> AskedState:
        return replace(state, params=aggregate.values.to(torch.float32))

    def personal(self, run: LocalRun[int]) -> None:
        values = torch.zeros(self.setting.layout.size)
        values[values.numel() - 10 + (run.task.client_id + run.state) % 10] = 1.0
        run.load(values, None)


@final
class PlainMean(Algorithm[ServerState, None]):
    """FedAvg whose clients count equally."""

    def weight(self, num_examples: int) -> float:
        return 1.0
