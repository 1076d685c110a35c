"""Groups runs into configurations: the runs of a configuration differ only in their seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.labels import labels_of
from orchestrator.analysis.runs import ComparedRun

#: config keys and sections that do not distinguish configurations
_IGNORED = ("seed", "runtime", "tracking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration with its runs.

    - `label`: unique name of the configuration in the comparison.
    - `key_values`: values of the dotted keys that differ between the compared configurations. An option of a method is
      included if it differs between configurations of this method.
    - `runs`: runs by seed, ascending.
    """

    label: str
    method: str
    key_values: Mapping[str, Any]
    runs: Mapping[int, ComparedRun]


def group_runs(runs: Sequence[ComparedRun]) -> tuple[list[Configuration], list[str]]:
    """Return the configurations, ordered by label, and a note for each run that is left out.

    If several runs have the same configuration and seed, only the run that started last counts.
    """
    groups: dict[str, dict[int, ComparedRun]] = {}
    notes = []
    for run in sorted(runs, key=_start, reverse=True):
        group = groups.setdefault(_identity(run), {})
        newer = group.setdefault(run.seed, run)
        if newer is not run:
            notes.append(
                f"{run.run_id} is left out: {newer.run_id} has the same configuration and seed {run.seed} "
                "and is newer"
            )
    firsts = [next(iter(group.values())) for group in groups.values()]
    labels = labels_of([(run.method, compared_config(run)) for run in firsts])
    configurations = [
        Configuration(
            label=label.text,
            method=first.method,
            key_values=label.key_values,
            runs=dict(sorted(group.items())),
        )
        for label, first, group in zip(labels, firsts, groups.values(), strict=True)
    ]
    return sorted(configurations, key=lambda configuration: configuration.label), notes


def compared_config(run: ComparedRun) -> dict[str, Any]:
    """Return the part of a run's config that identifies its configuration."""
    return {key: value for key, value in run.config.items() if key.split(".")[0] not in _IGNORED}


def _identity(run: ComparedRun) -> str:
    return json.dumps(compared_config(run), sort_keys=True, default=str)


def _start(run: ComparedRun) -> tuple[int, str]:
    return (run.records[0].timestamp_ms if run.records else 0, run.run_id)
