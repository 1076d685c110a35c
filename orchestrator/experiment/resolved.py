"""What a config became: resolved values, keys that differ from their defaults, and the command that repeats a run."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.config.overrides import flatten
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment

#: sections that affect no result
_NOT_OF_RESULT = ("runtime.", "tracking.")


def resolved_values(experiment: Experiment) -> dict[str, Any]:
    """Return what the config leaves open: the sparsity in round 0, its allocation, the model and its size."""
    setting = experiment.algorithm.setting
    return {
        "sparsity.level": round(1.0 - experiment.algorithm.density(0), 6),
        "sparsity.allocation": setting.sparsity.allocation,
        "model.name": experiment.model_spec,
        "model.num_parameters": setting.layout.size,
        "model.num_maskable": setting.layout.num_maskable,
    }


def changed_values(config: ExperimentConfig) -> dict[str, Any]:
    """Return the values that differ from the defaults of their method, by dotted key; always with the method."""
    name = {"algorithm.name": config.algorithm.name}
    defaults = flatten(ExperimentConfig.parse({"algorithm": {"name": config.algorithm.name}}).to_dict())
    flat = flatten(config.to_dict())
    return name | {key: value for key, value in flat.items() if value != defaults.get(key, ...)}


def command_arguments(config: ExperimentConfig) -> list[str]:
    """Return the arguments of `sparsefleet run` that repeat a run with the same result, on any machine."""
    return [
        f"{key}={_text(value)}"
        for key, value in changed_values(config).items()
        if not key.startswith(_NOT_OF_RESULT)
    ]


def method_summary(name: str) -> str:
    """Return the first line of a method's documentation; "" without documentation."""
    from orchestrator.experiment.methods import load_algorithm

    return next(iter((load_algorithm(name).__doc__ or "").strip().splitlines()), "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def shown_values(
    config: ExperimentConfig, resolved: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that describe a run, with resolved ones, and all other values.

    The first part has the keys in `_ALWAYS`, all options of the method, and all values that differ from the defaults,
    apart from the places where the run is stored and tracked.
    """
    changed = changed_values(config)
    flat = flatten(config.to_dict())
    shown = {
        key: resolved.get(key, value)
        for key, value in flat.items()
        if key in _ALWAYS
        or key in resolved
        or key.startswith("algorithm.")
        or (key in changed and not key.startswith("tracking.") and key != "runtime.storage")
    }
    others = {key: value for key, value in flat.items() if key not in shown}
    return {**shown, **resolved}, others


#: keys by which users compare runs, also at their defaults
_ALWAYS = frozenset(
    {
        "seed",
        "data.name",
        "data.partition.kind",
        "data.partition.alpha",
        "fleet.name",
        "fleet.num_clients",
        "training.rounds",
        "training.clients_per_round",
        "training.local_epochs",
        "training.batch_size",
        "training.optimizer",
        "training.lr",
    }
)
