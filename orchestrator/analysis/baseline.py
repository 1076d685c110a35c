"""The configuration that the others are measured against."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.analysis.configurations import Configuration, compared_config
from orchestrator.analysis.labels import short_text, shortened, value_text
from orchestrator.config.section import convert
from orchestrator.config.yaml import read_setting
from orchestrator.errors import RequestError
from orchestrator.suggest import suggest


def find_baseline(text: str, configurations: Sequence[Configuration]) -> Configuration:
    """The one with this label, this method, a run with this id, or this KEY=VALUE in its config.

    KEY is dotted, or as short as in labels. Raises RequestError when none or several answer to it.
    """
    readings = (
        [c for c in configurations if c.label == text],
        [c for c in configurations if c.method == text],
        [c for c in configurations if text in {run.run_id for run in c.runs.values()}],
        [c for c in configurations if _has(c, text)],
    )
    found = next((reading for reading in readings if reading), [])
    if not found:
        names = {name for c in configurations for name in (c.label, c.method)}
        hint = suggest(text, names, "name a label, a method, a run id or a KEY=VALUE of one of them")
        raise RequestError("--baseline", text, "no configuration compared answers to that", hint)
    if len(found) > 1:
        labels = ", ".join(repr(c.label) for c in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        problem = f"{len(found)} configurations answer to that, {labels}{more}"
        raise RequestError("--baseline", text, problem, "name one of them by its label")
    return found[0]


def _has(configuration: Configuration, assignment: str) -> bool:
    key, equals, value = assignment.partition("=")
    config = compared_config(next(iter(configuration.runs.values())))
    return bool(equals) and any(
        value in (value_text(config[full]), short_text(config[full])) or _means(value, config[full])
        for full in _meant(key, config, configuration.key_values)
    )


def _means(text: str, value: object) -> bool:
    """Whether a text is another spelling of a config's value, as 1e-2 is of 0.01."""
    read = convert(read_setting(text), type(value))
    return type(read) is type(value) and read == value


def _meant(key: str, config: Mapping[str, Any], telling: Mapping[str, Any]) -> list[str]:
    return [full for full in config if full == key or (full in telling and shortened(full, telling) == key)]
