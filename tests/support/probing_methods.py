"""Methods that probe clients, or score clients by what they count: `tests.support.probing_methods:Class`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.seeds import stream
from orchestrator.federation.traits import Traits
from orchestrator.sparsity.payload import Dense, Payload, Scalar


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
