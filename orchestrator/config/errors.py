"""Turn a pydantic validation error into one line: the dotted key, its value, the problem and the remedy."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.commands import command_line
from orchestrator.errors import ConfigError, RequestError, UnknownKeyError
from orchestrator.suggest import closest, did_you_mean

#: pydantic's error types for a value where a section belongs
_SECTION_EXPECTED = ("model_type", "model_attributes_type")
#: least similarity of names in different sections
_STRICT = 0.8


def as_request_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> RequestError:
    """Return the first problem of a failed validation of `model`, whose own dotted key is `prefix`."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RequestError):
        return cause
    places = [str(part) for part in first["loc"]]
    field = ".".join([*([prefix] if prefix else []), *(part for part in places if not _is_case(part))])
    keys = dotted_keys(model, prefix)
    if first["type"] == "extra_forbidden":
        return _unknown_key(field, first, keys)
    if first["type"] in _SECTION_EXPECTED:
        problem = "this is a section of keys, not a value"
        inner = next((key for key in keys if key.startswith(f"{field}.")), f"{field}.KEY")
        return ConfigError(field, _shortened(first["input"]), problem, f"set its keys, such as {inner}=VALUE")
    if cause is not None and not first["loc"]:
        return ConfigError(prefix or "config", "(several keys)", str(cause), "change one of them")
    remedy = f"see `{command_line('list', 'keys')}`"
    # a name inside a mapping, such as sparsity.layer_density.fc, has the description of the mapping
    key = next((key for key in keys if field == key or field.startswith(f"{key}.")), None)
    if key is not None and (description := keys[key][0]):
        remedy = f"give a valid value for this key ({description})"
    return ConfigError(field, _shortened(first["input"]), first["msg"][:1].lower() + first["msg"][1:], remedy)


def _is_case(place: str) -> bool:
    """Whether a place of an error names one of the types that a key accepts, not a key."""
    return place.startswith("literal[") or place == "constrained-str"


def dotted_keys(model: type[BaseModel], prefix: str = "") -> dict[str, tuple[str, Any]]:
    """Return description and default of every leaf key of a config model, by dotted key."""
    keys: dict[str, tuple[str, Any]] = {}
    for name, info in model.model_fields.items():
        dotted = f"{prefix}.{name}" if prefix else name
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= dotted_keys(kind, dotted)
        else:
            keys[dotted] = (info.description or "", info.get_default(call_default_factory=False))
    return keys


def closest_key(key: str, known: Mapping[str, object]) -> str | None:
    """Return the known dotted key that the user probably meant; None when no key is similar enough.

    The search takes the first match of three:
    1. a key of the same section with a similar last part;
    2. a key that is similar as a whole, if the section does not exist;
    3. a key of any section with a very similar last part.
    """
    section, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    if (found := closest(last, siblings)) is not None:
        return siblings[found]
    if not siblings and (found := closest(key, known, cutoff=_STRICT)) is not None:
        return found
    by_last: dict[str, str] = {}
    for name in known:
        by_last.setdefault(name.rpartition(".")[2], name)
    found = closest(last, by_last, cutoff=_STRICT)
    return by_last[found] if found is not None else None


def _unknown_key(field: str, first: ErrorDetails, keys: Mapping[str, object]) -> ConfigError:
    written = str(first["loc"][-1])
    if field in keys and "." in written:
        names = written.split(".")
        remedy = f"write `{': {'.join(names)}: ...{'}' * (len(names) - 1)}`"
        return ConfigError(field, _shortened(first["input"]), "a key in a file contains no dot", remedy)
    sections = {name.rsplit(".", depth)[0]: None for name in keys for depth in range(1, name.count(".") + 1)}
    meant = closest_key(field, {**sections, **keys})
    remedy = did_you_mean(meant) if meant else f"see `{command_line('list', 'keys')}`"
    return UnknownKeyError(field, _shortened(first["input"]), "there is no such key", remedy)


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
