"""Finds the baseline: the configuration from which the differences of all other configurations are computed."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.analysis.configurations import Configuration, compared_config
from orchestrator.analysis.labels import short_text, shortened, value_text
from orchestrator.config.section import convert
from orchestrator.config.yaml import read_setting
from orchestrator.errors import RequestError
from orchestrator.suggest import suggest


def find_baseline(text: str, configurations: Sequence[Configuration]) -> Configuration:
    """Return the configuration with this label, method, run id, or KEY=VALUE in its config.

    KEY is a dotted key, or a short key as in labels. Raises RequestError unless exactly one configuration matches.
    """
    candidates = (
        [c for c in configurations if c.label == text],
        [c for c in configurations if c.method == text],
        [c for c in configurations if text in {run.run_id for run in c.runs.values()}],
        [c for c in configurations if _has_setting(c, text)],
    )
    found = next((matches for matches in candidates if matches), [])
    if not found:
        names = {name for c in configurations for name in (c.label, c.method)}
        remedy = suggest(
            text, names, "give a label, a method, a run id or a KEY=VALUE of a compared configuration"
        )
        raise RequestError("--baseline", text, "no compared configuration matches", remedy)
    if len(found) > 1:
        labels = ", ".join(repr(c.label) for c in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        problem = f"{len(found)} configurations match: {labels}{more}"
        raise RequestError("--baseline", text, problem, "give the label of one configuration")
    return found[0]


def _has_setting(configuration: Configuration, assignment: str) -> bool:
    key, equals, value = assignment.partition("=")
    config = compared_config(next(iter(configuration.runs.values())))
    return bool(equals) and any(
        value in (value_text(config[full]), short_text(config[full])) or _is_spelling_of(value, config[full])
        for full in _matching_keys(key, config, configuration.key_values)
    )


def _is_spelling_of(text: str, value: object) -> bool:
    """Whether a text is another spelling of a config value, such as 1e-2 for 0.01."""
    read = convert(read_setting(text), type(value))
    return type(read) is type(value) and read == value


def _matching_keys(key: str, config: Mapping[str, Any], label_keys: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of the config that equal `key` or have `key` as their short form in labels."""
    return [
        full for full in config if full == key or (full in label_keys and shortened(full, label_keys) == key)
    ]
