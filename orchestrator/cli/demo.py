"""The first thing a new user runs: FedDST against FedAvg, everything else equal."""

from pathlib import Path
from typing import Any

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.runtime.session import Display
from orchestrator.storage.summary import RunSummary

#: shared by both runs: the bundled digits, dealt unevenly to twenty clients
DEMO: dict[str, Any] = {
    "seed": 0,
    "data": {"name": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}},
    "fleet": {"num_clients": 20},
    "training": {"rounds": 40, "clients_per_round": 5, "local_epochs": 5, "batch_size": 20, "lr": 0.05},
}


def run_demo(storage: Path, display: Display, *, verbose: bool = False) -> list[RunSummary]:
    """Run both methods on one local Ray; the summaries in the order FedDST, FedAvg.

    Interrupted, it ends with the run in progress.
    """
    from orchestrator.runtime.ray_session import ray_session

    methods: list[dict[str, Any]] = [
        {"algorithm": {"name": "feddst"}, "sparsity": {"level": 0.8}},
        {"algorithm": {"name": "fedavg"}},
    ]
    configs = [
        ExperimentConfig.parse({**DEMO, **method, "runtime": {"storage": str(storage)}}) for method in methods
    ]
    with ray_session(configs[0].runtime, verbose=verbose):
        results: list[RunSummary] = []
        for config in configs:
            results.append(session.run(config, display, verbose=verbose))
            if results[-1].interrupted:
                break
        return results
