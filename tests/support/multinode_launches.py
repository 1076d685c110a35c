"""Runs and sweeps by a command on a node of a cluster, of a small experiment whose actors reserve a core each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import yaml

from orchestrator.config.overrides import apply_overrides
from orchestrator.display.run_progress import Progress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.store import SweepStore
from orchestrator.tracking.record import read_records
from tests.support.multinode_cluster import Cluster, Command, Node
from tests.support.sweep_files import the_sweep

NUM_CLIENTS = 6
_DEVICE = {
    "name": "one-core",
    "num_cpus": 1,
    "flops_per_s": 1e10,
    "uplink_bytes_per_s": 1e6,
    "downlink_bytes_per_s": 5e6,
}
#: nearly dense, so that a broadcast is above the 100 KiB up to which Ray sends an object along with a call
_EXPERIMENT: dict[str, Any] = {
    "algorithm": {"name": "feddst", "readjust_every": 2, "alpha": 0.2},
    "sparsity": {"level": 0.1},
    "model": {"name": "mlp"},
    "fleet": {"num_clients": NUM_CLIENTS},
    "training": {"rounds": 5, "clients_per_round": NUM_CLIENTS, "local_epochs": 1, "eval_every": 5},
    "tracking": {"enabled": False},
}
_SPACE = '''"""One dimension."""

from ray import tune

SPACE = {{"{key}": tune.grid_search({values})}}
'''
#: long enough to be hit in the middle
LONG = ("training.rounds=120", "training.clients_per_round=3")


@final
class Run:
    """One run on the cluster: the command, and the folder that it fills."""

    def __init__(self, command: Command, storage: Path) -> None:
        self.command, self._storage = command, storage

    @property
    def folder(self) -> Path:
        """The run's folder, once it is there."""
        (file,) = self._storage.glob("*/run.json")
        return file.parent

    def num_commits(self) -> int:
        """Rounds that are committed."""
        return len(list(self._storage.glob("*/commits/round-*.json")))

    def rounds(self) -> list[int]:
        """The rounds whose metrics are recorded, in their order."""
        return [record.round_idx for record in read_records(self.folder / "metrics.jsonl")]

    def params_sha256(self) -> str | None:
        """What its summary says once it has ended well."""
        return RunSummary.read(self.folder / "summary.json").params_sha256


@final
class Sweep:
    """One sweep on the cluster: the command, and the folder that it fills."""

    def __init__(self, command: Command, storage: Path) -> None:
        self.command, self._storage = command, storage

    def num_commits(self, number: int) -> int:
        """Rounds that a trial has committed."""
        return len(list(self._storage.glob(f"*/*-{number:03d}/commits/round-*.json")))

    @property
    def store(self) -> SweepStore:
        """What it has written down, once its folder is there."""
        return the_sweep(self._storage)


@final
class Launches:
    """Starts runs and sweeps on a cluster, each with a storage folder of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._number = cluster, 0
        self._fleet = self.fleet("fleet")

    def fleet(self, name: str, **more: object) -> str:
        """The file of a fleet of one-core devices with more of their own."""
        file = self._cluster.shared / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"profiles": [_DEVICE | more]}))
        return str(file)

    def run(self, node: Node, address: str, *overrides: str) -> Run:
        """Start a run by a command on a node."""
        storage = self._storage()
        file = self._file(storage, f"runtime.address={address}", *overrides)
        return Run(node.python("-m", "orchestrator.cli", "run", "-c", file), storage)

    def sweep(self, node: Node, key: str, values: Sequence[str], *overrides: str) -> Sweep:
        """Start a sweep over the values of one key, one trial at a time, by a command on a node."""
        storage = self._storage()
        space = storage / "space.py"
        space.write_text(_SPACE.format(key=key, values=list(values)))
        file = self._file(storage, "runtime.address=auto", *overrides)
        words = ["sweep", space, "-c", file, "--max-concurrent", 1]
        return Sweep(node.python("-m", "orchestrator.cli", *words), storage)

    def undisturbed(self, *overrides: str) -> str | None:
        """Digest of the parameters with which the same experiment ends in this process."""
        config = self._config(self._storage(), "runtime.executor=inprocess", *overrides)
        return session.run(config, Progress(quiet=True)).params_sha256

    def _file(self, storage: Path, *overrides: str) -> Path:
        file = storage / "config.yaml"
        file.write_text(yaml.safe_dump(self._config(storage, *overrides).to_dict()))
        return file

    def _config(self, storage: Path, *overrides: str) -> ExperimentConfig:
        places = [f"fleet.name={self._fleet}", f"runtime.storage={storage}"]
        return ExperimentConfig.parse(apply_overrides(_EXPERIMENT, [*places, *overrides]))

    def _storage(self) -> Path:
        self._number += 1
        folder = self._cluster.shared / f"runs-{self._number}"
        folder.mkdir()
        return folder
