"""The keys of a YAML fleet file, with types, ranges and units. Every error is one line that names the file."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from orchestrator.config.errors import as_request_error, closest_key
from orchestrator.config.section import Section, UserPath
from orchestrator.errors import ConfigError
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.suggest import did_you_mean

S = TypeVar("S", bound=Section)

#: Ray rounds amounts of resources to this
_SMALLEST_AMOUNT = 1e-4


def _parse_exponent(value: object) -> object:
    """Return 8e9 as a number: YAML reads it as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _check_reservable(amount: float) -> float:
    if 0.0 < amount < _SMALLEST_AMOUNT:
        raise PydanticCustomError("amount", "input should be 0 or at least 0.0001")
    return amount


def _check_gpus(amount: float) -> float:
    if amount > 1.0 and not amount.is_integer():
        raise PydanticCustomError("amount", "input should be a part of one GPU or a whole number")
    return amount


def _check_custom(resources: Mapping[str, float]) -> Mapping[str, float]:
    if built_in := {"CPU", "GPU", "memory", "object_store_memory"} & set(resources):
        raise PydanticCustomError(
            "resource", "{name} is a resource of Ray's own, not a custom resource", {"name": min(built_in)}
        )
    return resources


Speed = Annotated[float, Field(gt=0.0)]
PositiveShare = Annotated[float, Field(gt=0.0, le=1.0)]
Bytes = Annotated[int, BeforeValidator(_parse_exponent), Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0), AfterValidator(_check_reservable)]


class ProfileEntry(Section):
    """One profile in a fleet file: the fields of a DeviceProfile, and the profile's share of the population."""

    name: str = Field(min_length=1, description="a name that no other profile of the fleet has")
    share: float = Field(1.0, ge=0.0, description="the profile's weight in the fleet, 0 or more")
    num_cpus: Amount = Field(0.1, description="the cores that an actor reserves on Ray, 0 or more")
    num_gpus: Annotated[Amount, AfterValidator(_check_gpus)] = Field(
        0.0, description="the GPUs that an actor reserves on Ray: a part of one GPU, or a whole number"
    )
    ray_memory_bytes: Bytes = Field(0, description="the bytes of memory that an actor reserves on Ray")
    resources: Annotated[
        Mapping[str, Annotated[Amount, Field(strict=True)]], AfterValidator(_check_custom)
    ] = Field(
        {}, description="amounts of custom Ray resources by name; CPU, GPU and memory have keys of their own"
    )
    accelerator_type: str | None = Field(None, min_length=1, description="Ray's name for a kind of GPU")
    flops_per_s: Speed = Field(description="the FLOPs that the device computes in a second, above 0")
    uplink_bytes_per_s: Speed = Field(description="the bytes that the device sends in a second, above 0")
    downlink_bytes_per_s: Speed = Field(description="the bytes that the device receives in a second, above 0")
    memory_bytes: Annotated[Bytes, Field(gt=0)] | None = Field(
        None, description="the device's RAM in bytes, above 0"
    )
    capability: PositiveShare = Field(
        1.0, description="the share of a model that the device can train, in (0, 1]"
    )
    available_share: PositiveShare = Field(
        1.0, description="the share of each period in which the device is available, in (0, 1]"
    )
    available_period_s: float = Field(86_400.0, gt=0.0, description="the period in seconds, above 0")
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="the probability that the device drops out of a task, in [0, 1)"
    )

    sparse_efficiency: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="the share of the masked FLOPs whose time the device saves, in [0, 1]",
    )

    def profile(self) -> DeviceProfile:
        """Return the profile without the share."""
        return DeviceProfile(**self.model_dump(exclude={"share"}))


class FleetFile(Section):
    """The content of a YAML fleet file. Each entry of `profiles` is validated as a ProfileEntry later."""

    name: str | None = Field(
        None, min_length=1, description="the fleet's name; the default is the file's name"
    )
    summary: str = Field("", description="the text that `sparsefleet list fleets` prints for the fleet")
    profiles: list[dict[str, Any]] = Field(min_length=1, description="a list of profiles, each a mapping")
    trace: UserPath | None = Field(
        None, description="a CSV or Parquet file; the path is relative to the fleet file's folder"
    )
    period_s: float | None = Field(
        None, gt=0.0, description="the seconds after which the trace's intervals repeat"
    )


def validate_section(model: type[S], tree: object, file: Path, prefix: str = "") -> S:
    """Return the YAML tree as an object of this section.

    Raises ConfigError. The error names the file, the key and the values that the key takes.
    """
    fields = model.model_fields
    if not isinstance(tree, Mapping):
        problem = "the file does not contain a mapping"
        raise ConfigError("fleet.name", file, problem, f"give it the keys {', '.join(fields)}")
    for key in tree:
        if key not in fields:
            meant = closest_key(str(key), fields)
            remedy = did_you_mean(meant) if meant else f"choose from {', '.join(fields)}"
            where = f"{file}: {prefix}{'.' if prefix else ''}{key}"
            raise ConfigError(where, shorten(str(tree[key]), 60), "there is no such key", remedy)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first, wrong = error.errors()[0], as_request_error(error, model, prefix)
        value = "(nothing)" if first["type"] == "missing" else wrong.value
        remedy = f"give {fields[str(first['loc'][0])].description}"
        raise ConfigError(f"{file}: {wrong.field}", value, wrong.problem, remedy) from error
