"""Pydantic's errors as one clear line: the dotted key, the value, the problem and the remedy."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import ConfigError, RequestError


def as_request_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> RequestError:
    """The first problem of a failed validation of `model`, whose own dotted key is `prefix`."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RequestError):
        return cause
    field = ".".join([*([prefix] if prefix else []), *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        return _unknown_key(field, first, model, prefix)
    if cause is not None and not first["loc"]:
        return ConfigError(prefix or "config", "(several keys)", str(cause), "change one of them")
    remedy = f"see `sparsefleet list keys` for what {field} takes"
    return ConfigError(field, _shown(first["input"]), first["msg"][:1].lower() + first["msg"][1:], remedy)


def dotted_keys(model: type[BaseModel], prefix: str = "") -> dict[str, tuple[str, Any]]:
    """Every leaf key of a config model: (description, default)."""
    keys: dict[str, tuple[str, Any]] = {}
    for name, info in model.model_fields.items():
        dotted = f"{prefix}.{name}" if prefix else name
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= dotted_keys(kind, dotted)
        else:
            keys[dotted] = (info.description or "", info.get_default(call_default_factory=False))
    return keys


def near_match(key: str, known: Mapping[str, object]) -> str | None:
    """The known dotted key that was probably meant.

    In a section that exists, the sibling whose last part is like it; else the key that is like it as a whole,
    or that has such a last part in another section.
    """
    section, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    if found := get_close_matches(last, siblings, n=1):
        return siblings[found[0]]
    if not siblings and (found := get_close_matches(key, known, n=1, cutoff=0.8)):
        return found[0]
    by_last: dict[str, str] = {}
    for name in known:
        by_last.setdefault(name.rpartition(".")[2], name)
    found = get_close_matches(last, by_last, n=1, cutoff=0.8)
    return by_last[found[0]] if found else None


def _unknown_key(field: str, first: ErrorDetails, model: type[BaseModel], prefix: str) -> ConfigError:
    keys = dotted_keys(model, prefix)
    sections = {name.rsplit(".", depth)[0]: None for name in keys for depth in range(1, name.count(".") + 1)}
    near = near_match(field, {**sections, **keys})
    remedy = f"did you mean {near}?" if near else "see `sparsefleet list keys`"
    return ConfigError(field, _shown(first["input"]), "there is no such key", remedy)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
