"""Stand-ins that tests share: data made of numbers, one client's task in hand, and whole rounds in this process.

`play` drives the real hooks as the driver does, and keeps what the driver drops: every decoded update. It is
slow and plain; `tests/algorithms/test_reductions.py` holds it to the driver.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.config import ExperimentConfig, SparsityConfig, TrainingConfig
from orchestrator.config_loading import apply_overrides
from orchestrator.federation.aggregate import Aggregate, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, beside_model, known_masks
from orchestrator.federation.local import Batch, LocalRun
from orchestrator.federation.plan import ClientTask, RoundPlan, TaskKind
from orchestrator.federation.setting import Setting
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule
from orchestrator.models.shapes import InputShape
from orchestrator.models.submodel import shrink
from orchestrator.models.units import UnitGroup
from orchestrator.runtime.broadcast import Broadcast
from orchestrator.runtime.client import ClientHost
from orchestrator.runtime.executor import Job
from orchestrator.runtime.experiment import Experiment, prepare
from orchestrator.sparsity.payload import Bool, Payload
from orchestrator.sparsity.wire import decode

#: eight clients with 74 to 299 images each, three a round
BASE = {
    "data.name": "digits",
    "fleet.num_clients": 8,
    "training.clients_per_round": 3,
    "training.local_epochs": 2,
    "training.rounds": 4,
    "runtime.executor": "inprocess",
    "tracking.enabled": False,
}


def experiment(options: Mapping[str, object] | None = None) -> Experiment:
    """The experiment of `BASE` with dotted keys changed; made once for each set of options."""
    return _prepared(tuple(sorted({**BASE, **(options or {})}.items())))


def normalised_net(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with running statistics, for `model.name=tests.fakes:normalised_net`."""
    channels, height, width = input_shape
    positions = (height - 2) * (width - 2)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * positions, num_classes),
    )


@cache
def _prepared(items: tuple[tuple[str, object], ...]) -> Experiment:
    overrides = [f"{key}={value}" for key, value in items]
    return prepare(ExperimentConfig.parse(apply_overrides({}, overrides)))


class TensorData:
    """Training images from tensors, in an order drawn anew for each epoch unless `shuffled` is False."""

    def __init__(self, images: Tensor, labels: Tensor, *, shuffled: bool = True) -> None:
        self.images, self.labels, self.shuffled = images, labels, shuffled

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, rng: np.random.Generator) -> Batch:
        """See TrainingData."""
        if not self.shuffled:
            return self.images, self.labels
        order = torch.from_numpy(rng.permutation(len(self)))
        return self.images[order], self.labels[order]


def random_data(num_images: int, shape: InputShape, num_classes: int, seed: int = 0) -> TensorData:
    """Gaussian images with random labels."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.standard_normal((num_images, *shape)).astype(np.float32))
    return TensorData(images, torch.from_numpy(rng.integers(0, num_classes, num_images)))


#: what stands for a device where a test cares for none
DEVICE = DeviceProfile(name="default", flops_per_s=10e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=5e6)


def make_setting(
    flat: FlatModule,
    shape: InputShape,
    *,
    training: Mapping[str, object] | None = None,
    sparsity: Mapping[str, object] | None = None,
    num_clients: int = 10,
    seed: int = 0,
    profiles: tuple[DeviceProfile, ...] = (DEVICE,),
    units: tuple[UnitGroup, ...] = (),
) -> Setting:
    """The surroundings of a run with this model; `training` and `sparsity` are config options.

    The clients take the profiles in turn.
    """
    options = {"clients_per_round": min(5, num_clients), **(training or {})}
    return Setting(
        layout=flat.layout,
        cost=measure_cost(flat.module, flat.layout, shape),
        training=TrainingConfig.model_validate(options),
        sparsity=SparsityConfig.model_validate(sparsity or {}),
        num_clients=num_clients,
        seed=seed,
        initial=flat.values.numpy().copy(),
        profiles=profiles,
        assignment=np.arange(num_clients) % len(profiles),
        units=units,
    )


class CheckedRun(LocalRun[Any]):
    """A task that holds every step to the mask and counts the steps, however a method makes them."""

    num_steps = 0

    def batches(self, purpose: str = "batches", epochs: int | None = None) -> Iterator[Iterator[Batch]]:
        """As in LocalRun; what follows a batch is run before the next one is taken."""
        for epoch in super().batches(purpose, epochs):
            yield self._checked(epoch)

    def _checked(self, epoch: Iterator[Batch]) -> Iterator[Batch]:
        for batch in epoch:
            yield batch
            self.num_steps += 1
            if self.mask is not None:
                outside = int(self.values[~self.mask].count_nonzero())
                assert outside == 0, f"step {self.num_steps} left {outside} weights outside the mask"


class OneClient:
    """A Host for one client, with the model and the samples that a test hands it."""

    def __init__(
        self,
        flat: FlatModule,
        data: TensorData,
        units: tuple[UnitGroup, ...] = (),
        validation: TensorData | None = None,
    ) -> None:
        self.full, self._data, self._units, self._validation = flat, data, units, validation

    def narrow(self, num_kept: Mapping[str, int]) -> FlatModule:
        """See Host."""
        return FlatModule(shrink(self.full.module, self._units, num_kept))

    def training_data(self, client_id: int) -> TensorData:
        """See Host."""
        return self._data

    def validation_batch(self, client_id: int) -> Batch:
        """See Host."""
        kept = self._validation
        if kept is None:
            return self._data.images[:0], self._data.labels[:0]
        return kept.images, kept.labels


def make_run(
    setting: Setting,
    flat: FlatModule,
    data: TensorData,
    *,
    received: ModelValues | None = None,
    round_idx: int = 0,
    client_id: int = 0,
    state: object = None,
    payload: Payload = (),
    kind: TaskKind = "train",
    validation: TensorData | None = None,
) -> CheckedRun:
    """One client's task; by default it receives the model's present values, unmasked."""
    return CheckedRun(
        setting=setting,
        task=ClientTask(round_idx=round_idx, position=0, client_id=client_id, kind=kind),
        host=OneClient(flat, data, setting.units, validation),
        received=received or ModelValues(flat.values.clone(), None),
        payload=payload,
        state=state,
    )


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> FlatModule:
    """A model with the initial weights of that torch seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FlatModule(build())


@dataclass(frozen=True, eq=False, kw_only=True)
class PlayedRound:
    """Everything that happened in one round, or in one of the `probes` before it.

    `jobs`, `received` (in full coordinates), `updates`, what is in them (`payloads`, `models`) and
    `download_bytes` are in plan order; `client_states` are those of all clients after the round.
    """

    round_idx: int
    before: ServerState
    after: ServerState
    broadcast: Broadcast
    jobs: tuple[Job, ...]
    received: tuple[ModelValues | None, ...]
    updates: tuple[ClientUpdate[Any], ...]
    payloads: tuple[Payload, ...]
    models: tuple[ModelValues | None, ...]
    download_bytes: tuple[int, ...]
    aggregate: Aggregate
    client_states: dict[int, Any]
    probes: "tuple[PlayedRound, ...]" = ()


def play(
    experiment: Experiment,
    num_rounds: int | None = None,
    *,
    start: ServerState | None = None,
) -> list[PlayedRound]:
    """Run rounds one after another; `start` is a state to begin round 0 with."""
    algorithm = experiment.algorithm
    state = start or algorithm.init(torch.from_numpy(experiment.initial.copy()))
    host, client_states, held = ClientHost(experiment), dict[int, Any](), dict[int, str]()
    rounds = []
    for round_idx in range(num_rounds or experiment.config.training.rounds):
        probes = []
        while plan := algorithm.plan_probe(state, round_idx):
            probes.append(_play_phase(experiment, host, state, plan, client_states, held))
            state, client_states = probes[-1].after, probes[-1].client_states
        played = _play_phase(
            experiment, host, state, algorithm.plan(state, round_idx), client_states, held, tuple(probes)
        )
        rounds.append(played)
        state, client_states = played.after, played.client_states
    return rounds


def _play_phase(
    experiment: Experiment,
    host: ClientHost,
    state: ServerState,
    plan: RoundPlan,
    client_states: Mapping[int, Any],
    held: dict[int, str],
    probes: tuple[PlayedRound, ...] = (),
) -> PlayedRound:
    algorithm = experiment.algorithm
    broadcast, aggregator = Broadcast.of(experiment, state), algorithm.aggregator()
    jobs, received, updates, payloads, models, download_bytes = [], [], [], [], [], []
    states = dict(client_states)
    for task in plan.tasks:
        k = task.client_id
        brought = client_states[k] if k in client_states else algorithm.init_client(k)
        jobs.append(broadcast.job(task, brought))
        received.append(broadcast.received_by(jobs[-1]))
        update = host.run(task, broadcast.message.buffer, jobs[-1].unicast, brought)
        assert isinstance(update, ClientUpdate), update
        updates.append(update)
        payloads.append(decode(update.buffer, known_masks=known_upload_masks(experiment, received[-1])))
        model, got = algorithm.unpack(payloads[-1], task, brought), received[-1]
        models.append(model)
        aggregator.add(
            Contribution(
                client_id=k,
                weight=algorithm.weight(update.num_examples),
                values=None if model is None else model.values,
                mask=None if model is None else model.mask,
                start=None if got is None else got.values,
                items=beside_model(payloads[-1]),
            )
        )
        download_bytes.append(broadcast.download_bytes(jobs[-1], held.get(k)))
        states[k] = update.client_state
        if broadcast.mask_digest is not None:
            held[k] = broadcast.mask_digest
    aggregate = aggregator.finish(state.params)
    probing = any(task.kind == "probe" for task in plan.tasks)
    absorb = algorithm.probe_update if probing else algorithm.server_update
    return PlayedRound(
        round_idx=plan.round_idx,
        before=state,
        after=absorb(state, aggregate, plan.round_idx),
        broadcast=broadcast,
        jobs=tuple(jobs),
        received=tuple(received),
        updates=tuple(updates),
        payloads=tuple(payloads),
        models=tuple(models),
        download_bytes=tuple(download_bytes),
        aggregate=aggregate,
        client_states=states,
        probes=probes,
    )


def known_upload_masks(experiment: Experiment, received: ModelValues | None) -> dict[str, Bool]:
    """The masks that an upload need not repeat: that of the received model."""
    return known_masks(experiment.setting.layout, None if received is None else received.mask)


def assert_same_params(left: list[PlayedRound], right: list[PlayedRound]) -> None:
    """After each round the parameters agree bit for bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.after.params, b.after.params), f"round {a.round_idx} differs"
