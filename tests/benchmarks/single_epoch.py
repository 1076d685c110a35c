"""Compare FedDST's two places of the readjustment when clients train a single epoch.

`python -m tests.benchmarks.single_epoch` trains FedDST on the digits with `training.local_epochs=1`. The mask is
readjusted in the middle of the epoch (the default), or after it, where no step follows. Prints the share of the weights
grown in the readjustment rounds that are still 0 in the server's model, the upload and the accuracy.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean, stdev

import torch

from orchestrator.tracking.record import read_records
from tests.support.runs import committed, fresh, new_driver

EXPERIMENT = (
    "model.name=mlp",
    "algorithm.name=feddst",
    "sparsity.level=0.8",
    "fleet.num_clients=20",
    "training.clients_per_round=5",
    "training.local_epochs=1",
    "training.rounds=20",
    "training.eval_every=20",
    "algorithm.alpha=0.2",
    "algorithm.readjust_every=3",
)
PLACES = {"in the middle (default)": "null", "after the epoch": "1"}


def measure(place: str, seed: int) -> dict[str, float]:
    """Train once, and count the grown weights in the server's state of each round."""
    experiment = fresh(*EXPERIMENT, f"algorithm.adjust_after_epoch={place}", f"seed={seed}")
    grown = num_zero = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = experiment.algorithm.init(torch.from_numpy(experiment.initial.copy())).mask
        for _ in new_driver(experiment, folder).run():
            state = committed(experiment, folder).server_state
            new = state.mask & ~before
            grown, num_zero = grown + int(new.sum()), num_zero + int((state.params[new] == 0).sum())
            before = state.mask
        last = read_records(folder / "metrics.jsonl")[-1].metrics
    return {
        "grown": grown,
        "still zero": num_zero / max(1, grown),
        "upload_bytes": last["comm/upload_bytes_total"],
        "accuracy": last["eval/accuracy"],
    }


def main() -> None:
    """Print a line for each place, with means over the seeds, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    found = {}
    for name, place in PLACES.items():
        runs = [measure(place, seed) for seed in range(arguments.seeds)]
        found[name] = {what: mean(run[what] for run in runs) for what in runs[0]}
        found[name]["deviation of the accuracy"] = stdev(run["accuracy"] for run in runs)
        print(f"{name}: " + ", ".join(f"{what} {value:.4g}" for what, value in found[name].items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
