"""`sparsefleet run` on a node of a cluster, with a small experiment whose actors reserve a core each."""

from pathlib import Path
from typing import Any, final

import yaml

from orchestrator.config import ExperimentConfig
from orchestrator.config_loading import apply_overrides
from orchestrator.runtime import session
from orchestrator.runtime.summary import RunSummary
from orchestrator.tracking.progress import Progress
from orchestrator.tracking.record import read_records
from tests.multinode.cluster import Cluster, Command, Node

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
class Launches:
    """Starts runs on a cluster, each with a storage folder of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._number = cluster, 0
        self._fleet = cluster.shared / "fleet.yaml"
        self._fleet.write_text(yaml.safe_dump({"profiles": [_DEVICE]}))

    def run(self, node: Node, address: str, *overrides: str) -> Run:
        """Start a run by a command on a node."""
        storage = self._storage()
        config = self._config(storage, f"runtime.address={address}", *overrides)
        file = storage / "config.yaml"
        file.write_text(yaml.safe_dump(config.to_dict()))
        return Run(node.python("-m", "orchestrator.cli", "run", "-c", file), storage)

    def undisturbed(self, *overrides: str) -> str | None:
        """Digest of the parameters with which the same experiment ends in this process."""
        config = self._config(self._storage(), "runtime.executor=inprocess", *overrides)
        return session.run(config, Progress(quiet=True)).params_sha256

    def _config(self, storage: Path, *overrides: str) -> ExperimentConfig:
        places = [f"fleet.name={self._fleet}", f"runtime.storage={storage}"]
        return ExperimentConfig.parse(apply_overrides(_EXPERIMENT, [*places, *overrides]))

    def _storage(self) -> Path:
        self._number += 1
        folder = self._cluster.shared / f"runs-{self._number}"
        folder.mkdir()
        return folder
