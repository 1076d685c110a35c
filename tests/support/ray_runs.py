"""A small experiment for tests on Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig

MakeConfig = Callable[..., ExperimentConfig]

TINY: dict[str, Any] = {
    "algorithm": {"name": "feddst", "readjust_every": 2, "alpha": 0.2},
    "model": {"name": "mlp"},
    "fleet": {"num_clients": 6},
    "training": {"rounds": 6, "clients_per_round": 3, "local_epochs": 2, "eval_every": 3},
    "tracking": {"enabled": False},
}


def config_maker(storage: Path) -> MakeConfig:
    """Return a function that returns a small config with the given overrides; runs go to `storage`."""

    def make(*overrides: str) -> ExperimentConfig:
        return ExperimentConfig.parse(apply_overrides(TINY, [f"runtime.storage={storage}", *overrides]))

    return make
