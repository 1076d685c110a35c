"""A run's folder as it begins, as it is found again, and as trackers are told of it."""

import getpass
import os
import secrets
import subprocess
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, machine_fingerprint
from orchestrator.storage.atomic_write import explained_write, write_durably
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.reachable import public_uri, sqlite_path
from orchestrator.tracking.record import RunInfo

#: under what run.json keeps the lines on how the data was read; absent when there are none
DATA_NOTES = "data_notes"
#: fingerprints that runs of earlier releases do not have
_LATER_FINGERPRINTS = ("fixed_state",)


def unique_name(stem: str) -> str:
    """A name for a new folder: the stem, the present moment and four hex digits."""
    return f"{stem}-{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def begin_run(
    experiment: Experiment,
    folder: Path,
    *,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> RunStore:
    """Write what a new run's folder begins with: its config, run.json and the table of its split.

    `name` is what people read (None: the run id), `tags` are added to those that every run has, `notes` to run.json.
    """
    import pandas as pd

    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    store, commit = RunStore(folder), git_commit()
    about = {
        "run_id": store.run_id,
        "name": name or store.run_id,
        "tags": {**_tags(experiment), "git_commit": commit or "unknown", **(tags or {})},
        "fingerprint": fingerprint(experiment),
        "machine": machine_fingerprint(experiment.fleet),
        "packages": {package: version(package) for package in ("sparsefleet", "torch", "ray", "numpy")},
        "git_commit": commit,
        **({DATA_NOTES: list(experiment.notes)} if experiment.notes else {}),
        **(notes or {}),
    }
    table = pd.DataFrame(experiment.partition.table(experiment.dataset)).to_parquet()
    write_durably(folder / "partition.parquet", table)
    store.describe(experiment.config.to_dict(), about)
    return store


def verify_run(store: RunStore, experiment: Experiment) -> list[str]:
    """Check that an experiment is the one that a run was started with.

    Returns a line for each way in which this machine differs from that run's. Raises CheckpointError, naming what
    is no longer what it was.
    """
    about = store.about()
    if not all(isinstance(about.get(key), dict) for key in ("fingerprint", "machine")):
        raise CheckpointError(f"{store.folder / 'run.json'} has no fingerprints; the run cannot be resumed")
    for name, digest in fingerprint(experiment).items():
        if name in _LATER_FINGERPRINTS and name not in about["fingerprint"]:
            continue
        if about["fingerprint"].get(name) != digest:
            raise CheckpointError(
                f"{name} is not what the run {store.run_id} was started with (fingerprint "
                f"{about['fingerprint'].get(name)}, now {digest}); restore it, or start a new run"
            )
    return [
        f"{name} was {about['machine'].get(name)} and is {value} now: results agree to rounding only"
        for name, value in machine_fingerprint(experiment.fleet).items()
        if about["machine"].get(name) != value
    ]


def fingerprint(experiment: Experiment) -> dict[str, str]:
    """The experiment's, and a digest of all config keys that a resumed run keeps."""
    return {"config": config_digest(experiment.config), **experiment.fingerprint()}


def config_digest(config: ExperimentConfig) -> str:
    """SHA-256 of all config keys that decide a result."""
    kept = {
        key: value
        for key, value in flatten(config.to_dict()).items()
        if not any(key == k or key.startswith(f"{k}.") for k in ExperimentConfig.RESUMABLE)
    }
    return sha256(repr(sorted(kept.items())).encode()).hexdigest()


def tracking_uri(config: ExperimentConfig) -> str:
    """The configured tracking server, or the SQLite file in the storage folder; files by absolute path."""
    uri = config.tracking.uri or f"sqlite:///{config.runtime.storage.resolve() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


def run_info(store: RunStore, config: ExperimentConfig) -> RunInfo:
    """What a tracker is told of the run in a folder; `config` says where its tracking server is."""
    about = store.about()
    digests = {f"fingerprint.{name}": digest for name, digest in about["fingerprint"].items()}
    return RunInfo(
        run_id=store.run_id,
        run_dir=str(store.folder),
        uri=tracking_uri(config),
        experiment=config.tracking.experiment,
        artifact_root=None,
        run_name=about.get("name", store.run_id),
        params=public_params(config.to_dict()),
        tags={"mlflow.user": user_name(), **about.get("tags", {}), **digests},
        flush_timeout_s=config.tracking.flush_timeout_s,
    )


def public_params(tree: Mapping[str, Any]) -> dict[str, str]:
    """A config tree as dotted params, without the password that a server's address may carry."""
    return {
        key: public_uri(str(value)) if key == "tracking.uri" else str(value)
        for key, value in flatten(tree).items()
    }


def _tags(experiment: Experiment) -> dict[str, str]:
    """What people filter and group runs by."""
    config = experiment.config
    return {
        "method": config.algorithm.name,
        "aggregation": experiment.algorithm.aggregation,
        "sparsity": f"{experiment.algorithm.level(0):g}",
        "fleet": config.fleet.name,
        "data": config.data.name,
        "seed": str(config.seed),
    }


def user_name() -> str:
    """Who runs this; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def git_commit() -> str | None:
    """Commit of the working folder, where it is a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
