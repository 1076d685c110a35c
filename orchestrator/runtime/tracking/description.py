"""Describe runs to MLflow: source, data sets, and the description of the run's page."""

import getpass
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.registry import loader_of
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.resolved import command_arguments, method_summary
from orchestrator.tracking.presentation.run_page import Description, TrackedDataset


def dataset_parts(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the training and the test part of the data set as fields of TrackedDataset, for run.json."""
    data, dataset = experiment.config.data, experiment.dataset
    digest = dataset.fingerprint()
    parts = (("training", "train", dataset.train_inputs), ("testing", "test", dataset.test_inputs))
    return [
        asdict(
            TrackedDataset(
                name=f"{data.name} ({part})",
                digest=sha256(f"{digest} {part}".encode()).hexdigest()[:16],
                context=context,
                source=loader_of(data.name) if data.root is None else str(data.root.absolute()),
                is_local=data.root is not None,
                shape=tuple(inputs.shape),
                dtype=str(inputs.dtype),
            )
        )
        for context, part, inputs in parts
    ]


def source_tags(about: Mapping[str, Any], command: str) -> dict[str, str]:
    """Return MLflow's tags for user and source. `about` is run.json or sweep.json; `command` is `run` or `sweep`.

    The commit is that of the user's folder, as in every MLflow client, else that of Sparsefleet's own checkout.
    """
    called = Path(sys.argv[0])
    is_script = called.suffix == ".py" and called.name not in ("__main__.py", "job_entry.py")
    commit = about.get("git_commit") or about.get("package_commit")
    return {
        "mlflow.user": user_name(),
        "mlflow.source.name": str(called) if is_script else f"sparsefleet {command}",
        "mlflow.source.type": "LOCAL",
        **({} if commit is None else {"mlflow.source.git.commit": commit}),
    }


def describe_run(config: ExperimentConfig, resolved: Mapping[str, Any], *, with_note: bool) -> Description:
    """Describe a run, with the user's note if asked; `resolved` is what `resolved_values` returned at its begin."""
    name, training, fleet = config.algorithm.name, config.training, config.fleet
    model = resolved.get("model.name", config.model.name)
    settings = {
        "data": f"{config.data.name}, {_partition(config.data.partition)} over {fleet.num_clients} clients",
        "model": model + _size(resolved),
        "sparsity": _sparsity(resolved),
        "fleet": f"{fleet.name}, {training.clients_per_round} clients in each round",
        "training": f"{training.rounds} rounds; {training.local_epochs} local epochs, batches of "
        f"{training.batch_size}, {training.optimizer}, learning rate {training.lr:g}",
        "seed": str(config.seed),
    }
    return Description(
        note=(config.tracking.note or "") if with_note else "",
        title=f"**{name}**: {method_summary(name)}",
        settings={key: value for key, value in settings.items() if value},
        command=shlex.join(["sparsefleet", "run", *command_arguments(config)]),
    )


def user_name() -> str:
    """Return the user's name, or the user id where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _partition(partition: PartitionConfig) -> str:
    has_alpha = partition.kind in ("dirichlet", "balanced_dirichlet", "quantity")
    return partition.kind + (f" (alpha {partition.alpha:g})" if has_alpha else "")


def _size(resolved: Mapping[str, Any]) -> str:
    num = resolved.get("model.num_parameters")
    return "" if num is None else f", {num:,} parameters"


def _sparsity(resolved: Mapping[str, Any]) -> str:
    level = resolved.get("sparsity.level")
    if level is None:
        return ""
    return f"{level:.4g}, {resolved['sparsity.allocation']}" if level else "dense"
