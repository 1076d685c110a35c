"""The setting of the compared runs, and the commands that repeat them, for the HTML page."""

import json
import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.configurations import compared_config
from orchestrator.analysis.runs import ComparedRun, default_values


def commands_html(comparison: Comparison) -> str:
    """Return what all configurations have in common, and a table with the command and the runs of each."""
    configs = [next(iter(row.configuration.runs.values())) for row in comparison.rows]
    shared = _shared([compared_config(run) for run in configs])
    changed = " ".join(_arguments(shared)) or "all keys have their defaults"
    rows = "\n".join(
        f'<tr data-i="{rank}"><td>{escape(row.configuration.label)}</td><td style="text-align:left;white-space:normal">'
        f"<code>{escape(command_of(run))}</code><br>{escape(_runs(row.configuration.runs))}</td></tr>"
        for rank, (row, run) in enumerate(zip(comparison.rows, configs, strict=True))
    )
    return (
        "<h2>Setting and commands</h2>\n"
        f'<p class="caption">Equal for all configurations: <code>{escape(changed)}</code></p>\n'
        f'<div class="wide"><table id="commands"><tbody>\n{rows}\n</tbody></table></div>'
    )


def command_of(run: ComparedRun) -> str:
    """Return the command that repeats a run: the keys that differ from their defaults, and its method's options."""
    config = {**compared_config(run), "seed": run.config["seed"]}
    return shlex.join(["sparsefleet", "run", *_arguments(config)])


def _arguments(config: Mapping[str, Any]) -> list[str]:
    defaults = default_values()
    changed = {key: value for key, value in config.items() if key not in defaults or defaults[key] != value}
    name = {"algorithm.name": config["algorithm.name"]} if "algorithm.name" in config else {}
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for key, value in {**name, **changed}.items()
    ]


def _shared(configs: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = configs
    return {
        key: value for key, value in first.items() if all(other.get(key, ...) == value for other in others)
    }


def _runs(runs: Mapping[int, ComparedRun]) -> str:
    return "; ".join(f"seed {seed}: {run.run_id} ({run.status})" for seed, run in runs.items())
