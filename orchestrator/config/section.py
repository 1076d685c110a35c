"""What every part of the config tree is made of: its base class, and values with their ranges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

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
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python counts True as 1; a config does not."""
        assert info.field_name is not None
        wanted = cls.model_fields[info.field_name].annotation
        kinds = {wanted, *get_args(wanted)}
        numbers = {int, float} & (kinds | {inner for kind in kinds for inner in get_args(kind)})
        if isinstance(value, bool) and numbers:
            raise PydanticKnownError("int_type" if int in numbers else "float_type")
        return value
