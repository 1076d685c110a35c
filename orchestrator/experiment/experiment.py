"""From a config to everything a run needs, checked: data, split, model, method and fleet."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition, make_partition
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.seeds import forked_seeds, stream
from orchestrator.federation.setting import Setting
from orchestrator.fleet.fleets import Fleet
from orchestrator.models.parameters import FlatModule
from orchestrator.models.state import unpack_state


@dataclass(frozen=True, eq=False, kw_only=True)
class ExperimentSpec:
    """A resolved experiment but for its samples.

    `build` makes a new module; it carries the builder itself, so that a user's file need not be on every node.
    `fixed_state` is the packed state of the model outside the flat vector, as the run starts with it.
    """

    config: ExperimentConfig
    algorithm: AnyAlgorithm
    model_spec: str
    build: Callable[[], nn.Module]
    fixed_state: NDArray[np.uint8]
    fleet: Fleet


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment(ExperimentSpec):
    """A resolved experiment. Immutable; every process that takes part has all of it."""

    dataset: Dataset
    partition: Partition

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user on how the data was read, and on what was left out."""
        return self.dataset.notes + self.partition.notes

    @property
    def recipe(self) -> ExperimentSpec:
        """What is left without the samples, which several experiments may share."""
        return ExperimentSpec(
            config=self.config,
            algorithm=self.algorithm,
            model_spec=self.model_spec,
            build=self.build,
            fixed_state=self.fixed_state,
            fleet=self.fleet,
        )

    @property
    def setting(self) -> Setting:
        """The surroundings that hooks may read."""
        return self.algorithm.setting

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the method under these options, a line each."""
        return self.algorithm.warnings(self.partition.train.sizes())

    @property
    def initial(self) -> NDArray[np.float32]:
        """float32[D] start vector (numpy, so that processes of one node share it)."""
        return self.setting.initial

    def new_model(self, device: torch.device | None = None) -> FlatModule:
        """A new model, the same in every process, whatever parts of it lie outside the flat vector."""
        with forked_seeds(self.config.seed, "model"):
            flat = FlatModule(self.build(), device, self.setting.layout)
        flat.load_fixed_state(unpack_state(self.fixed_state))
        return flat

    def fingerprint(self) -> dict[str, str]:
        """What must agree for a resumed run to end where the undisturbed one ends, by name."""
        layout = [(s.name, s.shape, s.kind) for s in self.setting.layout.segments]
        return {
            "data": self.dataset.fingerprint(),
            "partition": self.partition.fingerprint(),
            "model": sha256(repr(layout).encode()).hexdigest(),
            "initial_parameters": params_sha256(self.initial),
            "fixed_state": sha256(self.fixed_state.tobytes()).hexdigest(),
            "fleet": self.setting.population.fingerprint(),
        }


def split_samples(dataset: Dataset, config: ExperimentConfig) -> Partition:
    """The config's split of the samples over its clients. Raises PartitionError when it cannot be made."""
    return make_partition(dataset, config.data, config.fleet.num_clients, stream(config.seed, "partition"))


def with_samples(recipe: ExperimentSpec, dataset: Dataset, partition: Partition) -> Experiment:
    """The experiment that a recipe and its samples make."""
    return Experiment(
        config=recipe.config,
        algorithm=recipe.algorithm,
        model_spec=recipe.model_spec,
        build=recipe.build,
        fixed_state=recipe.fixed_state,
        fleet=recipe.fleet,
        dataset=dataset,
        partition=partition,
    )


def model_notes(experiment: Experiment) -> list[str]:
    """A line that names the weights which stay dense though they could be masked by their shape, if there are any."""
    dense = experiment.setting.layout.dense_weights
    if not dense:
        return []
    names = ", ".join(s.name for s in dense[:3]) + (f" and {len(dense) - 3} more" if dense[3:] else "")
    size = sum(s.size for s in dense)
    return [f"{names} ({size:,} values): always dense, since a mask would save no FLOPs that can be counted"]


def params_sha256(params: Tensor | NDArray[np.float32]) -> str:
    """Hex digest of a float32[D] vector's little-endian bytes."""
    return sha256(np.asarray(params, dtype="<f4").tobytes()).hexdigest()


def machine_fingerprint(fleet: Fleet) -> dict[str, str]:
    """The torch build, CPU and threads under which results are bit-identical; of a fleet with GPUs the GPU too."""
    gpu = {}
    if any(profile.num_gpus > 0 for profile in fleet.profiles):
        gpu["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "threads": ", ".join(f"{profile.name}: {profile.num_threads}" for profile in fleet.profiles),
        "torch": torch.__version__,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "mkldnn": str(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        **gpu,
    }
