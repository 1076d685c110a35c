"""The base class of all config sections, and the value types that sections share."""

import re
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticKnownError

_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error}") from error


UserPath = Annotated[Path, AfterValidator(_expand_home)]


def _reject_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def convert(value: object, annotation: object) -> object:
    """Return a value converted to the type of its key; a value of an unsuitable type is returned unchanged.

    Keys of type text keep 010, 1e3, yes and true as they are written. Keys of type number read 010 as ten.
    """
    kinds = _kinds(annotation)
    if kinds & {int, float}:
        return _number(value) if isinstance(value, str) else value
    if kinds & {str, Path} and isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _kinds(annotation: object) -> set[object]:
    """Return the types that an annotation allows, without the types inside containers."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*(_kinds(inner) for inner in get_args(annotation)))
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    return {annotation}


def choices_of(annotation: object) -> tuple[str, ...]:
    """Return the texts that a key accepts if its type is a choice or a truth value, else nothing."""
    if annotation is bool:
        return ("true", "false")
    origin = get_origin(annotation)
    if origin is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    if origin is Annotated:
        return choices_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(choice for inner in get_args(annotation) for choice in choices_of(inner))
    return ()


def _number(text: str) -> object:
    """Return a decimal number, YAML's .inf or .nan (which pydantic then rejects), or else the text."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return number if isfinite(number := float(text)) else text
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def dotted_names(value: object) -> object:
    """Return `{a: {b: 1}}` as `{a.b: 1}`, so that `section.a.b=1` can set a name that contains a dot."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, object] = {}
    for name, inner in value.items():
        inner = dotted_names(inner)
        nested = isinstance(inner, dict) and inner
        flat |= {f"{name}.{last}": leaf for last, leaf in nested.items()} if nested else {str(name): inner}
    return flat


Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Density = Annotated[float, BeforeValidator(_reject_bool), Field(gt=0.0, le=1.0)]
PositiveFloat = Annotated[float, BeforeValidator(_reject_bool), Field(gt=0.0)]
#: the name of a user's object: `path/to/file.py:name` or `package.module:name`
OwnObject = Annotated[str, Field(pattern=r"^.+:\w+$")]
DeviceLevel = Annotated[float, BeforeValidator(_reject_bool), Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the config tree. Sections are frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), coerce_numbers_to_str=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _convert_to_type_of_key(cls, value: object, info: ValidationInfo) -> object:
        """Convert a value to the type of its key. A config rejects True for a number, although Python accepts it."""
        assert info.field_name is not None
        wanted = cls.model_fields[info.field_name].annotation
        numbers = {int, float} & _kinds(wanted)
        if isinstance(value, bool) and numbers:
            raise PydanticKnownError("int_type" if int in numbers else "float_type")
        return convert(value, wanted)
