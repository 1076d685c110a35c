"""What a YAML fleet may hold, with ranges and units; every problem is one line that names the file."""

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

#: Ray counts resources in ten-thousandths
_SMALLEST_AMOUNT = 1e-4


def _power_of_ten(value: object) -> object:
    """8e9 as a number, which YAML reads as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _can_be_reserved(amount: float) -> float:
    if 0.0 < amount < _SMALLEST_AMOUNT:
        raise PydanticCustomError("amount", "input should be 0 or at least 0.0001")
    return amount


def _whole_from_one_on(amount: float) -> float:
    if amount > 1.0 and not amount.is_integer():
        raise PydanticCustomError("amount", "input should be a part of one GPU or a whole number")
    return amount


def _are_custom(resources: Mapping[str, float]) -> Mapping[str, float]:
    if reserved := {"CPU", "GPU", "memory", "object_store_memory"} & set(resources):
        raise PydanticCustomError(
            "resource", "the resource {name} is not a custom one", {"name": min(reserved)}
        )
    return resources


Speed = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Bytes = Annotated[int, BeforeValidator(_power_of_ten), Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0), AfterValidator(_can_be_reserved)]


class ProfileEntry(Section):
    """One of a fleet's profiles: the fields of a DeviceProfile, and its share of the population."""

    name: str = Field(min_length=1, description="a name of its own")
    share: float = Field(1.0, ge=0.0, description="weight among the fleet's profiles, 0 or more")
    num_cpus: Amount = Field(0.1, description="cores that an actor reserves on Ray, 0 or more")
    num_gpus: Annotated[Amount, AfterValidator(_whole_from_one_on)] = Field(
        0.0, description="GPUs that an actor reserves on Ray: a part of one, or a whole number"
    )
    ray_memory_bytes: Bytes = Field(0, description="bytes of memory that an actor reserves on Ray")
    resources: Annotated[Mapping[str, Annotated[Amount, Field(strict=True)]], AfterValidator(_are_custom)] = (
        Field({}, description="amounts of custom Ray resources by name; CPU, GPU and memory have other keys")
    )
    accelerator_type: str | None = Field(None, min_length=1, description="a kind of GPU as Ray calls it")
    flops_per_s: Speed = Field(description="FLOPs that the device does in a second, above 0")
    uplink_bytes_per_s: Speed = Field(description="bytes that it sends in a second, above 0")
    downlink_bytes_per_s: Speed = Field(description="bytes that it receives in a second, above 0")
    memory_bytes: Annotated[Bytes, Field(gt=0)] | None = Field(None, description="bytes of RAM, above 0")
    capability: Share = Field(1.0, description="the share of a model that it can hold, in (0, 1]")
    available_share: Share = Field(1.0, description="the share of a period in which it is there, in (0, 1]")
    available_period_s: float = Field(86_400.0, gt=0.0, description="seconds, above 0")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="the probability that it vanishes, in [0, 1)")

    def profile(self) -> DeviceProfile:
        """The same without the share."""
        return DeviceProfile(**self.model_dump(exclude={"share"}))


class FleetFile(Section):
    """What a YAML fleet holds; each of `profiles` is a ProfileEntry."""

    name: str | None = Field(None, min_length=1, description="a name; without one, the file's")
    summary: str = Field("", description="what `sparsefleet list fleets` says of it")
    profiles: list[dict[str, Any]] = Field(min_length=1, description="a list of profiles, each a mapping")
    trace: UserPath | None = Field(None, description="a CSV or Parquet file, seen from the fleet's folder")
    period_s: float | None = Field(
        None, gt=0.0, description="seconds after which the trace's intervals repeat"
    )


def validated(model: type[S], tree: object, file: Path, prefix: str = "") -> S:
    """The tree as that section. Raises ConfigError, which names the file, and what its field takes."""
    fields = model.model_fields
    if not isinstance(tree, Mapping):
        problem = "it does not hold a mapping"
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
