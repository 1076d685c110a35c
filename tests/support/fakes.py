"""Fakes that tests share: data from tensors, and one client's task."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.config.sections import SparsityConfig
from orchestrator.config.training import TrainingConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.experiment import prepared
from orchestrator.contract.rounds import RecordedRound
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.plan import ClientTask, TaskKind
from orchestrator.federation.setting import Setting
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule
from orchestrator.models.shapes import InputShape
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import shrink
from orchestrator.rounds.sampler import CohortSampler
from orchestrator.sparsity.payload import Payload


def experiment(options: Mapping[str, object] | None = None) -> Experiment:
    """The experiment of the contract with changed dotted keys, from a cache."""
    return prepared(tuple(f"{key}={value}" for key, value in sorted((options or {}).items())))


def normalised_net(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with running statistics, for `model.name=tests.support.fakes:normalised_net`."""
    channels, height, width = input_shape
    positions = (height - 2) * (width - 2)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * positions, num_classes),
    )


class TensorData:
    """Training samples from tensors, in a new random order for each epoch unless `shuffled` is False."""

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


#: the device of tests that do not depend on the device
DEVICE = DeviceProfile(name="default", flops_per_s=10e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=5e6)


def cohort(experiment: Experiment, round_idx: int) -> tuple[int, ...]:
    """The clients that take part in a round."""
    return CohortSampler(experiment).cohort(round_idx)


def population_of(
    profiles: Sequence[DeviceProfile], assignment: Sequence[int] | NDArray[np.int64]
) -> Population:
    """Client k has the device `profiles[assignment[k]]`."""
    return Population(
        profiles=tuple(profiles),
        shares=(1.0,) * len(profiles),
        assignment=np.asarray(assignment, dtype=np.int32),
    )


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
    """The setting of a run with this model; `training` and `sparsity` are config options.

    Clients have the profiles in turn.
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
        population=population_of(profiles, np.arange(num_clients) % len(profiles)),
        units=units,
    )


class OneClient:
    """A ClientEnvironment for one client, with the test's model and samples."""

    def __init__(
        self,
        flat: FlatModule,
        data: TensorData,
        units: tuple[UnitGroup, ...] = (),
        validation: TensorData | None = None,
    ) -> None:
        self.full, self._data, self._units, self._validation = flat, data, units, validation

    def submodel(self, num_kept: Mapping[str, int]) -> FlatModule:
        """See ClientEnvironment."""
        return FlatModule(shrink(self.full.module, self._units, num_kept))

    def training_data(self, client_id: int) -> TensorData:
        """See ClientEnvironment."""
        return self._data

    def validation_batch(self, client_id: int) -> Batch:
        """See ClientEnvironment."""
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
        environment=OneClient(flat, data, setting.units, validation),
        received=received or ModelValues(flat.values.clone(), None),
        payload=payload,
        state=state,
    )


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> FlatModule:
    """A model with the initial weights of this torch seed; torch's global generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FlatModule(build())


def assert_same_params(left: list[RecordedRound], right: list[RecordedRound]) -> None:
    """Check that the parameters after each round are equal bit for bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.after.params, b.after.params), f"round {a.round_idx} differs"
