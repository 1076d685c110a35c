"""Start runs and sweeps on a node of a cluster. In the small experiment each actor reserves one core."""

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
from tests.support.multinode_cluster import MultinodeCluster, NodeCommand, RayNode
from tests.support.sweep_files import the_sweep

NUM_CLIENTS = 6
_DEVICE = {
    "name": "one-core",
    "num_cpus": 1,
    "flops_per_s": 1e10,
    "uplink_bytes_per_s": 1e6,
    "downlink_bytes_per_s": 5e6,
}
#: nearly dense, so that a broadcast has more than 100 KiB; Ray sends smaller objects inside a call
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
#: long enough to kill nodes before its end
LONG = ("training.rounds=120", "training.clients_per_round=3")


@final
class ClusterRun:
    """One run on the cluster: its command and its folder."""

    def __init__(self, command: NodeCommand, storage: Path) -> None:
        self.command, self._storage = command, storage

    @property
    def folder(self) -> Path:
        """The run's folder, after the command has created it."""
        (file,) = self._storage.glob("*/run.json")
        return file.parent

    def num_commits(self) -> int:
        """Return the number of committed rounds."""
        return len(list(self._storage.glob("*/commits/round-*.json")))

    def rounds(self) -> list[int]:
        """Return the recorded rounds in order."""
        return [record.round_idx for record in read_records(self.folder / "metrics.jsonl")]

    def params_sha256(self) -> str | None:
        """Return the digest of the parameters from the run's summary."""
        return RunSummary.read(self.folder / "summary.json").params_sha256


@final
class ClusterSweep:
    """One sweep on the cluster: its command and its folder."""

    def __init__(self, command: NodeCommand, storage: Path) -> None:
        self.command, self._storage = command, storage

    def num_commits(self, number: int) -> int:
        """Return the number of committed rounds of a trial."""
        return len(list(self._storage.glob(f"*/*-{number:03d}/commits/round-*.json")))

    @property
    def store(self) -> SweepStore:
        """The sweep's folder, after the command has created it."""
        return the_sweep(self._storage)


@final
class ClusterLauncher:
    """Starts runs and sweeps on a cluster, each with its own storage folder."""

    def __init__(self, cluster: MultinodeCluster) -> None:
        self._cluster, self._number = cluster, 0
        self._fleet = self.fleet("fleet")

    def fleet(self, name: str, **more: object) -> str:
        """Write a fleet file of one-core devices with more settings, and return its path."""
        file = self._cluster.shared / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"profiles": [_DEVICE | more]}))
        return str(file)

    def run(self, node: RayNode, address: str, *overrides: str) -> ClusterRun:
        """Start a run on a node."""
        storage = self._storage()
        file = self._file(storage, f"runtime.address={address}", *overrides)
        return ClusterRun(node.python("-m", "orchestrator.cli", "run", "-c", file), storage)

    def sweep(self, node: RayNode, key: str, values: Sequence[str], *overrides: str) -> ClusterSweep:
        """Start a sweep over the values of one key on a node, with one trial at a time."""
        storage = self._storage()
        space = storage / "space.py"
        space.write_text(_SPACE.format(key=key, values=list(values)))
        file = self._file(storage, "runtime.address=auto", *overrides)
        arguments = ["sweep", space, "-c", file, "--max-concurrent", 1]
        return ClusterSweep(node.python("-m", "orchestrator.cli", *arguments), storage)

    def digest_without_faults(self, *overrides: str) -> str | None:
        """Run the same experiment in this process, and return the digest of its parameters."""
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
