"""What every part of the config tree is made of: its base class, and values with their ranges."""

import re
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

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


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def by_type(value: object, annotation: object) -> object:
    """A value that stands for itself in any spelling, as its key's type has it; what does not fit is left alone.

    Text keys take 010, 1e3, yes and true as they are written, and number keys take them as decimal numbers.
    """
    kinds = _kinds(annotation)
    if kinds & {int, float}:
        return _number(value) if isinstance(value, str) else value
    if kinds & {str, Path} and isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _kinds(annotation: object) -> set[object]:
    """The types that an annotation allows, without the contents of containers."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*(_kinds(inner) for inner in get_args(annotation)))
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    return {annotation}


def _number(text: str) -> object:
    """A decimal number, or YAML's .inf and .nan, which the key's range rejects; else the text."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return number if isfinite(number := float(text)) else text
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def dotted_names(value: object) -> object:
    """`{a: {b: 1}}` as `{a.b: 1}`, so that `section.a.b=1` reaches a name that has a dot in it."""
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
Density = Annotated[float, BeforeValidator(_no_truth), Field(gt=0.0, le=1.0)]
DeviceLevel = Annotated[float, BeforeValidator(_no_truth), Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the tree: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), coerce_numbers_to_str=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _by_the_type_of_its_key(cls, value: object, info: ValidationInfo) -> object:
        """Read a value by the type of its key. Python counts True as 1; a config does not."""
        assert info.field_name is not None
        wanted = cls.model_fields[info.field_name].annotation
        numbers = {int, float} & _kinds(wanted)
        if isinstance(value, bool) and numbers:
            raise PydanticKnownError("int_type" if int in numbers else "float_type")
        return by_type(value, wanted)
