"""Create the folder of a run, verify it when the run is resumed, and describe the run to trackers."""

import json
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.atomic_write import PRIVATE_FOLDER, explained_write, write_durably
from orchestrator.config.formats import CONFIG_FORMATS, ConfigFormats
from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.experiment.checkout import commit_of_folder, commit_of_package
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, machine_fingerprint
from orchestrator.experiment.loading import first_change, parse_stored
from orchestrator.experiment.resolved import resolved_values, shown_values
from orchestrator.runtime.tracking.description import dataset_parts, describe_run, source_tags
from orchestrator.runtime.tracking.setup import experiment_name, tracking_uri
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_description import CONFIG_FILE, FORMAT_KEY, run_format
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.sources import SOURCES, store_sources
from orchestrator.tracking.presentation.run_page import TrackedDataset
from orchestrator.tracking.record import RunInfo
from orchestrator.tracking.uris import public_uri

#: key of run.json for the notes on how the data was read; absent without notes
DATA_NOTES = "data_notes"
#: keys of run.json for what the config leaves open, and for the parts of the data set; absent in earlier releases
RESOLVED, DATASETS = "resolved", "datasets"
#: key of run.json for the clients that attack; absent without an attack
ATTACKERS = "attackers"
#: file in the folder of a run or a sweep with Ray's own messages; it exists only if Ray reported something
RAY_LOG = "ray.log"
#: fingerprint -> first format whose runs always have this fingerprint
_LATER_FINGERPRINTS = {"fixed_state": 2, "memory_format": 3, "initial_file": 5}


def mention_ray_log(folder: Path) -> str:
    """Return the words that name the file with Ray's own messages; empty if Ray reported nothing."""
    return f"; Ray's own messages are in {folder / RAY_LOG}" if (folder / RAY_LOG).is_file() else ""


def begin_run(
    experiment: Experiment,
    folder: Path,
    *,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> RunStore:
    """Create the folder of a new run with its config, run.json and the table of its partition.

    `name` is the name that trackers show (None: the run id). `tags` are added to the tags of every run, and `notes`
    to run.json. The caller has locked the folder. Raises CheckpointError when the folder contains a run already.
    """
    import pandas as pd

    if is_run(folder):
        raise CheckpointError(
            f"{folder} contains a run already; resume this run, or start a run in another folder"
        )
    with explained_write(folder):
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    store = RunStore(folder)
    about = {
        "run_id": store.run_id,
        FORMAT_KEY: CONFIG_FORMATS.latest,
        "name": name or store.run_id,
        "tags": {**_tags(experiment), **(tags or {})},
        "fingerprint": fingerprint(experiment),
        "machine": machine_fingerprint(experiment.fleet),
        "packages": {package: version(package) for package in ("sparsefleet", "torch", "ray", "numpy")},
        "git_commit": commit_of_folder(Path()),
        "package_commit": commit_of_package(),
        RESOLVED: resolved_values(experiment),
        DATASETS: dataset_parts(experiment),
        SOURCES: store_sources(folder, experiment.sources),
        **({DATA_NOTES: list(experiment.notes)} if experiment.notes else {}),
        **({ATTACKERS: list(experiment.attackers)} if experiment.attackers else {}),
        **(notes or {}),
    }
    table = pd.DataFrame(experiment.partition.table(experiment.dataset)).to_parquet()
    write_durably(folder / "partition.parquet", table)
    store.describe(experiment.config.to_dict(), about)
    return store


def verify_run(store: RunStore, experiment: Experiment, formats: ConfigFormats = CONFIG_FORMATS) -> list[str]:
    """Check that an experiment has the config and the fingerprints with which the run was started.

    `formats` are the formats of stored configs; the experiment's config has the latest of them. Returns one line for
    each difference between this machine and release and those of the run. Raises CheckpointError with the name of the
    first fingerprint that differs.
    """
    about = store.about()
    if not all(isinstance(about.get(key), dict) for key in ("fingerprint", "machine")):
        raise CheckpointError(f"{store.folder / 'run.json'} has no fingerprints; the run cannot be resumed")
    version = run_format(store.folder, about, formats)
    _verify_config(store, experiment.config, about["fingerprint"].get("config"), formats)
    release = f"the release that started the run ({about.get('packages', {}).get('sparsefleet', 'unknown')})"
    remedy = "restore it, or " if version == formats.latest else f"restore it, use {release}, or "
    for name, digest in experiment.fingerprint().items():
        stored = about["fingerprint"].get(name)
        if stored is None and version < _LATER_FINGERPRINTS.get(name, 1):
            continue
        if stored != digest:
            raise CheckpointError(
                f"{name} is not what the run {store.run_id} was started with (fingerprint {stored}, now {digest}); "
                f"{remedy}start a new run"
            )
    notes = [
        f"{name} was {about['machine'][name]} and is {value} now: results agree to rounding only"
        for name, value in machine_fingerprint(experiment.fleet).items()
        if name in about["machine"] and about["machine"][name] != value
    ]
    if version < formats.latest:
        notes.append(
            f"an earlier release started this run (format {version}, now {formats.latest}): corrections since then "
            "apply to the remaining rounds, see CHANGELOG.md"
        )
    return notes


def _verify_config(
    store: RunStore, config: ExperimentConfig, digest: str | None, formats: ConfigFormats
) -> None:
    """Check that config.yaml is as the run stored it, and that `config` is this config in the latest format."""
    if _kept_digest(store.stored_config()) != digest:
        raise CheckpointError(
            f"config of the run {store.run_id} has changed since the run was started; restore "
            f"{store.folder / CONFIG_FILE}, or start a new run"
        )
    if (changed := first_change(type(config).parse(store.config(formats)), config)) is not None:
        key, before, now = changed
        raise CheckpointError(
            f"config of the run {store.run_id} has changed: {key} was {before} and is {now}; restore {key}, or start "
            "a new run"
        )


def fingerprint(experiment: Experiment) -> dict[str, str]:
    """Return the experiment's fingerprints and a digest of all config keys that a resumed run must keep."""
    return {"config": config_digest(experiment.config), **experiment.fingerprint()}


def config_digest(config: ExperimentConfig) -> str:
    """Return the SHA-256 digest of all config keys that affect the result."""
    return _kept_digest(config.to_dict())


def has_config(store: RunStore, config: ExperimentConfig) -> bool:
    """Return whether a run has this config, apart from the keys that a resumed run may change."""
    try:
        return first_change(parse_stored(store.config()), config) is None
    except ConfigError:
        return False


def _kept_digest(tree: Mapping[str, Any]) -> str:
    """Return the digest of the keys that a resumed run must keep, in the format of the tree."""
    kept = {key: value for key, value in flatten(tree).items() if not ExperimentConfig.is_resumable(key)}
    return sha256(repr(sorted(kept.items())).encode()).hexdigest()


def run_info(store: RunStore, config: ExperimentConfig) -> RunInfo:
    """Describe the run in a folder to a tracker; `config` names the tracking server."""
    about, tracking = store.about(), config.tracking
    shown, others = shown_values(config, about.get(RESOLVED, {}))
    is_trial = "sweep" in about.get(
        "tags", {}
    )  # name, note and system metrics are those of the sweep's own run
    return RunInfo(
        run_id=store.run_id,
        run_dir=str(store.folder),
        uri=tracking_uri(config),
        experiment=experiment_name(config),
        artifact_root=None,
        run_name=(None if is_trial else tracking.run_name) or about.get("name", store.run_id),
        params=public_params(shown),
        tags={**source_tags(about, "run"), **about.get("tags", {}), **tracking.tags},
        flush_timeout_s=tracking.flush_timeout_s,
        description=describe_run(config, about.get(RESOLVED, {}), with_note=not is_trial),
        datasets=tuple(TrackedDataset(**part) for part in about.get(DATASETS, ())),
        texts={"other_params.json": json.dumps(public_params(others), indent=1) + "\n"},
        model_name=config.algorithm.name,
        system_metrics=tracking.system_metrics and not is_trial,
    )


def public_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values by dotted key as MLflow params, without the password that the server's address may contain."""
    return {
        key: public_uri(str(value)) if key == "tracking.uri" else str(value) for key, value in values.items()
    }


def _tags(experiment: Experiment) -> dict[str, str]:
    """MLflow tags by which users filter and group runs."""
    config = experiment.config
    return {
        "method": config.algorithm.name,
        "aggregation": experiment.algorithm.capabilities.aggregation,
        "sparsity": f"{1.0 - experiment.algorithm.density(0):g}",
        "fleet": config.fleet.name,
        "data": config.data.name,
        "partition": config.data.partition.kind,
        "seed": str(config.seed),
    }
