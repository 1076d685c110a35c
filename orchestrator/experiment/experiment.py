"""An experiment: config, data, partition, model, method and fleet, resolved and checked."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition, make_partition
from orchestrator.errors import PartitionError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.method_support import privacy_warnings
from orchestrator.experiment.own_parts.metrics import Metric
from orchestrator.federation.adversary.attackers import sample_attackers
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.robust.own_rule import OwnRule
from orchestrator.federation.seeds import forked_seeds, stream
from orchestrator.federation.setting import Setting
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.own_sampling import SamplingRule
from orchestrator.models.memory_format import MemoryFormat
from orchestrator.models.parameters import FlatModule
from orchestrator.models.state import unpack_state
from orchestrator.plugins.source_files import SourceFiles


@dataclass(frozen=True, eq=False, kw_only=True)
class ExperimentSpec:
    """A resolved experiment without its samples, which several experiments may share.

    `build` builds a new module. It contains the builder itself, so that nodes do not need a user's file.
    `memory_format` is the format of images in the model.
    `fixed_state` is the packed initial state of the model outside the flat vector.
    `sources` are the user's files that the config names, by the name of their section.
    `initial_file` is the SHA-256 of the file of `model.init`; None without such a file.
    `metrics` are the further metrics of the global model, by name.
    `sampling_rule` is the user's function that samples cohorts; None for a built-in policy.
    `aggregation_rule` is the user's function that combines updates; None for a built-in rule.
    """

    config: ExperimentConfig
    algorithm: AnyAlgorithm
    model_spec: str
    build: Callable[[], nn.Module]
    memory_format: MemoryFormat
    fixed_state: NDArray[np.uint8]
    fleet: Fleet
    sources: Mapping[str, SourceFiles]
    initial_file: str | None
    metrics: Mapping[str, Metric]
    sampling_rule: SamplingRule | None = None
    aggregation_rule: OwnRule | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment(ExperimentSpec):
    """A resolved experiment. It is immutable, and every process of a run has a copy."""

    dataset: Dataset
    partition: Partition

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user: how the data was read, and which data was left out."""
        return self.dataset.notes + self.partition.notes

    @property
    def spec(self) -> ExperimentSpec:
        """The experiment without its samples."""
        return ExperimentSpec(
            config=self.config,
            algorithm=self.algorithm,
            model_spec=self.model_spec,
            build=self.build,
            memory_format=self.memory_format,
            fixed_state=self.fixed_state,
            fleet=self.fleet,
            sources=self.sources,
            initial_file=self.initial_file,
            metrics=self.metrics,
            sampling_rule=self.sampling_rule,
            aggregation_rule=self.aggregation_rule,
        )

    @property
    def setting(self) -> Setting:
        """The setting of the run, which hooks may read."""
        return self.algorithm.setting

    @cached_property
    def client_template(self) -> Any:
        """A new client state, which has the structure of all client states."""
        return self.algorithm.init_client(0)

    @cached_property
    def attackers(self) -> tuple[int, ...]:
        """The clients that attack, ascending; () without an attack."""
        return sample_attackers(self.config.attack, self.config.fleet.num_clients, self.config.seed)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user about the method and its privacy with these options, one per line."""
        further = privacy_warnings(self.algorithm, self.config.privacy)
        sizes = self.partition.train.sizes()[: self.config.fleet.num_clients]
        return (*self.algorithm.warnings(sizes), *further)

    @property
    def initial(self) -> NDArray[np.float32]:
        """Initial parameters, float32[D]. A numpy array, because Ray shares its memory between processes of a node."""
        return self.setting.initial

    def new_model(self, device: torch.device | None = None) -> FlatModule:
        """Build the model; every process builds the same one, including the state outside the flat vector."""
        with forked_seeds(self.config.seed, "model"):
            flat = FlatModule(self.build(), device, self.setting.layout, self.memory_format)
        flat.load_fixed_state(unpack_state(self.fixed_state))
        return flat

    def fingerprint(self) -> dict[str, str]:
        """Return digests, and the memory format, by name. A resumed run has the same result only if all are equal."""
        layout = [(s.name, s.shape, s.kind) for s in self.setting.layout.segments]
        file = {} if self.initial_file is None else {"initial_file": self.initial_file}
        return {
            **file,
            "data": self.dataset.fingerprint(),
            "partition": self.partition.fingerprint(),
            "model": sha256(repr(layout).encode()).hexdigest(),
            "memory_format": self.memory_format,
            "initial_parameters": params_sha256(self.initial),
            "fixed_state": sha256(self.fixed_state.tobytes()).hexdigest(),
            "fleet": self.setting.population.fingerprint(),
        }


def split_samples(dataset: Dataset, config: ExperimentConfig) -> Partition:
    """Partition the samples over clients as configured. Raises PartitionError when that is impossible."""
    rng = stream(config.seed, "partition")
    fleet = config.fleet
    try:
        return make_partition(
            dataset, config.data, fleet.num_with_unseen, rng, num_unseen=fleet.unseen_clients
        )
    except PartitionError as error:
        if not fleet.unseen_clients or error.field != "fleet.num_clients":
            raise
        problem = f"with fleet.unseen_clients={fleet.unseen_clients} these are {error.value} clients; {error.problem}"
        remedy = f"{error.remedy}; unseen clients count too"
        raise PartitionError("fleet.num_clients", fleet.num_clients, problem, remedy) from error


def with_samples(spec: ExperimentSpec, dataset: Dataset, partition: Partition) -> Experiment:
    """Return the experiment with these samples."""
    return Experiment(
        config=spec.config,
        algorithm=spec.algorithm,
        model_spec=spec.model_spec,
        build=spec.build,
        memory_format=spec.memory_format,
        fixed_state=spec.fixed_state,
        fleet=spec.fleet,
        sources=spec.sources,
        initial_file=spec.initial_file,
        metrics=spec.metrics,
        sampling_rule=spec.sampling_rule,
        aggregation_rule=spec.aggregation_rule,
        dataset=dataset,
        partition=partition,
    )


def model_notes(experiment: Experiment) -> list[str]:
    """Return a line with the weights that stay dense although their shape allows a mask; [] without such weights."""
    dense = experiment.setting.layout.dense_weights
    if not dense:
        return []
    names = ", ".join(s.name for s in dense[:3]) + (f" and {len(dense) - 3} more" if dense[3:] else "")
    size = sum(s.size for s in dense)
    return [
        f"{names} ({size:,} values): always dense, because a mask would save no FLOPs that can be counted"
    ]


def attack_notes(experiment: Experiment) -> list[str]:
    """Return a line with the clients that attack; [] without an attack."""
    attackers, config = experiment.attackers, experiment.config
    if not attackers:
        return []
    names = ", ".join(map(str, attackers[:10])) + (
        f" and {len(attackers) - 10} more" if attackers[10:] else ""
    )
    return [f"{len(attackers)} of {config.fleet.num_clients} clients attack ({config.attack.kind}): {names}"]


def params_sha256(params: Tensor | NDArray[np.float32]) -> str:
    """Return the hex SHA-256 of a float32[D] vector in little-endian bytes."""
    return sha256(np.asarray(params, dtype="<f4").tobytes()).hexdigest()


def machine_fingerprint(fleet: Fleet) -> dict[str, str]:
    """Return the torch build, processor and threads that equal bits need; for a fleet with GPUs also the GPU."""
    gpu = {}
    if any(profile.num_gpus > 0 for profile in fleet.profiles):
        gpu["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "threads": ", ".join(f"{profile.name}: {profile.num_threads}" for profile in fleet.profiles),
        "torch": torch.__version__,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "processor": _processor(),
        "mkldnn": str(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        **gpu,
    }


def _processor() -> str:
    """Return the processor's vendor, family and model, by which numerical libraries choose their kernels."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:  # not Linux
        return platform.processor()
    values = [line.partition(":") for line in lines]
    names = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")
    return " ".join(value.strip() for name, _, value in values if name.strip() in names)
