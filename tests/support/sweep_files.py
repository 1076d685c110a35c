"""A small search space for tests of whole sweeps, and functions that read the sweeps' folders."""

import json
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import flatten
from orchestrator.display.run_progress import Progress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec

#: short trials of a small perceptron; population-based training may change the sparsity schedule
TINY_SPACE = '''"""Tiny trials."""

from ray import tune

SPACE = {
    "algorithm.name": "feddst",
    "training.lr": tune.loguniform(0.005, 0.2),
    "sparsity.level": 0.5,
    "sparsity.schedule.kind": tune.choice(["linear", "cubic"]),
    "sparsity.schedule.final_level": tune.uniform(0.6, 0.95),
    "model.name": "mlp",
    "fleet.num_clients": 6,
    "training.clients_per_round": 3,
    "training.local_epochs": 1,
    "training.rounds": 12,
}

MUTATIONS = {
    "training.lr": tune.loguniform(0.005, 0.2),
    "sparsity.schedule.final_level": tune.uniform(0.6, 0.95),
}
'''


def tiny_space(folder: Path) -> Path:
    """Write `TINY_SPACE` to a file and return its path."""
    file = folder / "tiny.py"
    file.write_text(TINY_SPACE)
    return file


def the_sweep(storage: Path) -> SweepStore:
    """Return the only sweep in a storage folder."""
    (file,) = storage.glob("*/sweep.json")
    return SweepStore(file.parent)


def base_of(store: SweepStore) -> dict[str, Any]:
    """Return the config tree that all trials of a sweep start from."""
    base = store.about()["base"]
    assert isinstance(base, dict)
    return base


def digests(store: SweepStore) -> dict[int, str | None]:
    """Return trial number -> digest of the final parameters; None for a stopped trial."""
    found = {}
    for number, ending in store.endings().items():
        assert ending.run_id is not None
        found[number] = json.loads((store.folder / ending.run_id / "summary.json").read_text())[
            "params_sha256"
        ]
    return found


def undisturbed(trial: TrialSpec, base: dict[str, Any], storage: Path) -> str:
    """Return the digest of the final parameters of a single run with the trial's config, in this process."""
    config = trial.config(base)
    runtime = config.runtime.model_copy(update={"executor": "inprocess", "storage": storage})
    tracking = config.tracking.model_copy(update={"enabled": False})
    alone = config.model_copy(update={"runtime": runtime, "tracking": tracking})
    digest = session.run(alone, Progress(quiet=True)).params_sha256
    assert digest is not None
    return digest


def config_of(folder: Path) -> dict[str, Any]:
    """Return a run's config by dotted key, without the runtime and tracking sections."""
    flat = flatten(ExperimentConfig.parse(RunStore(folder).config()).to_dict())
    return {key: value for key, value in flat.items() if not key.startswith(("runtime.", "tracking."))}
