"""Methods for tests, named as `tests.support.methods:Class`: methods with much state, and methods that fail."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig, SparsityConfig
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import magnitude_mask, random_mask
from orchestrator.sparsity.payload import Payload, Scalar


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
        run.state = {"sampled": torch.rand(3)}


@final
class Moving(Algorithm[ServerState, None]):
    """The mean of the clients' changes from the models that they received."""

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="dmean")


@final
class PlainMean(Algorithm[ServerState, None]):
    """FedAvg whose clients count equally."""

    def weight(self, num_examples: int) -> float:
        return 1.0


class FailingConfig(AlgorithmConfig):
    """The hook that raises an error for client 2."""

    hook: Literal["load", "after_train", "pack"] = Field("load", description="the hook that fails")


@final
class Failing(Algorithm[ServerState, None]):
    """FedAvg without a hook inside its epochs, in which client 2 fails before or after them."""

    Config: ClassVar[type[AlgorithmConfig]] = FailingConfig

    def _fail(self, hook: str, run: LocalRun[None]) -> None:
        assert isinstance(self.config, FailingConfig)
        if (hook, run.task.client_id) == (self.config.hook, 2):
            raise ZeroDivisionError(f"in {hook}")

    def load(self, run: LocalRun[None]) -> None:
        self._fail("load", run)
        super().load(run)

    def after_train(self, run: LocalRun[None]) -> None:
        self._fail("after_train", run)

    def pack(self, run: LocalRun[None]) -> Payload:
        self._fail("pack", run)
        return super().pack(run)


@final
class EarlyStep(Algorithm[ServerState, None]):
    """FedAvg with a step before the first epoch."""

    def on_train_start(self, run: LocalRun[None]) -> None:
        run.backward(next(next(run.batches("early", 1))))
        run.apply_gradient()


@final
class DrawingTwice(Algorithm[ServerState, None]):
    """FedAvg that draws from torch's global generator before and after its epochs."""

    def on_train_start(self, run: LocalRun[None]) -> None:
        run.metrics["before"] = float(torch.rand(()))

    def after_train(self, run: LocalRun[None]) -> None:
        run.metrics["after"] = float(torch.rand(()))
