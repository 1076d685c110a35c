"""The workload of the benchmarks of a round, and its rounds with Sparsefleet.

By default 100 clients have 100 generated images each, 10 clients train in a round, for 5 epochs with batches of 20
images: the CNN with 21,840 parameters and SGD with momentum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_CLIENTS, EPOCHS, BATCH, LR, MOMENTUM = 100, 5, 20, 0.01, 0.9
#: rounds at the start of a run that are not timed, because MLflow starts meanwhile and takes a core for some seconds
WARM_UP = 30


@dataclass(frozen=True)
class Workload:
    """How many clients train in a round, and how many samples each client has."""

    per_round: int = 10
    samples: int = 100

    def make_images(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images float32[100 * samples, 1, 28, 28] around ten prototypes, and their labels."""
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, NUM_CLIENTS * self.samples)
        prototypes = rng.normal(size=(10, 1, 28, 28))
        images = prototypes[labels] * 0.5 + rng.normal(size=(len(labels), 1, 28, 28))
        return images.astype(np.float32), labels

    def config(self, folder: Path, num_rounds: int) -> dict[str, Any]:
        """Write the data to the folder, and return the tree of a run that evaluates once, after the last round."""
        images, labels = self.make_images()
        data = folder / "workload.npz"
        np.savez(data, x=images, y=labels, client_ids=np.repeat(np.arange(NUM_CLIENTS), self.samples),
                 x_test=images[:100], y_test=labels[:100], client_ids_test=np.arange(100))  # fmt: skip
        return {
            "data": {
                "name": "npz",
                "root": str(data),
                "validation_fraction": 0.0,
                "partition": {"kind": "natural"},
            },
            "model": {"name": "cnn_mnist"},
            "fleet": {"num_clients": NUM_CLIENTS},
            "training": {
                "rounds": num_rounds,
                "clients_per_round": self.per_round,
                "local_epochs": EPOCHS,
                "batch_size": BATCH,
                "lr": LR,
                "momentum": MOMENTUM,
                "eval_every": num_rounds,
            },
        }


def sparsefleet_records(
    workload: Workload, num_rounds: int, *, runtime: Mapping[str, Any], sections: Mapping[str, Any]
) -> list[Mapping[str, float]]:
    """Run Sparsefleet with MLflow for `num_rounds` timed rounds, and return their metrics.

    `runtime` has the keys of the section `runtime`, and `sections` the other sections, such as `algorithm`.
    """
    from orchestrator import ExperimentConfig, run
    from orchestrator.display.run_progress import Progress
    from orchestrator.tracking.record import read_records

    with TemporaryDirectory() as name:
        folder = Path(name)
        storage = folder / "runs"
        tree = workload.config(folder, WARM_UP + num_rounds) | dict(sections)
        tree["runtime"] = {"storage": str(storage), **runtime}
        summary = run(ExperimentConfig.parse(tree), Progress(quiet=True))
        records = read_records(storage / summary.run_id / "metrics.jsonl")
    return [record.metrics for record in records[WARM_UP:]]
