"""Compare the emulated time of methods on devices that save no time by a mask, and on ideal devices.

`python -m tests.benchmarks.sparse_time` trains each method for some rounds on the digits, and retimes the run with
both values of `fleet.sparse_efficiency`. Prints emulated seconds, in total and for computing alone.
"""

import argparse
import json
import tempfile
from pathlib import Path

from orchestrator.retiming import retime
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import read_records
from tests.support.runs import drive, fresh

EXPERIMENT = (
    "model.name=cnn_mnist",
    "data.image_size=28",
    "fleet.num_clients=20",
    "training.clients_per_round=5",
    "training.local_epochs=5",
    "training.eval_every=1000",
)
METHODS = {
    "FedAvg": ("algorithm.name=fedavg",),
    "FedDST, 0.8": ("algorithm.name=feddst", "sparsity.level=0.8"),
    "SSFL, 0.5": ("algorithm.name=ssfl", "sparsity.level=0.5"),
    "FedSpa, 0.5": ("algorithm.name=fedspa", "sparsity.level=0.5"),
    "HeteroFL, half of the units": (
        "algorithm.name=heterofl",
        "algorithm.ratio_policy=fixed",
        "algorithm.ratio=0.5",
        "algorithm.scaler=false",
    ),
}


def seconds(options: tuple[str, ...], rounds: int) -> dict[str, float]:
    """Return the emulated seconds of a run on masks that save no time and on ideal masks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = fresh(*EXPERIMENT, *options, f"training.rounds={rounds}")
        drive(experiment, folder)
        RunStore(folder).describe(experiment.config.to_dict(), {})
        last = read_records(folder / "metrics.jsonl")[-1].metrics
        totals = {e: retime(folder, "uniform", sparse_efficiency=e).rounds[-1] for e in (0.0, 1.0)}
    return {
        "total, e = 0": totals[0.0].retimed_s_total,
        "total, e = 1": totals[1.0].retimed_s_total,
        "computing, e = 0": last["time/compute_s_total"],
        "computing, e = 1": last["time/compute_ideal_s_total"],
    }


def main() -> None:
    """Print a line for each method, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    found = {name: seconds(options, arguments.rounds) for name, options in METHODS.items()}
    for name, row in found.items():
        print(f"{name}: " + ", ".join(f"{what} {value:.3g} s" for what, value in row.items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
