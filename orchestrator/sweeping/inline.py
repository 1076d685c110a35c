"""Search spaces without a file: values and Ray Tune domains given as arguments.

A sweep stores its request as JSON, so a domain is stored as the text of its call, such as `loguniform(0.001, 0.1)`. The
command line accepts the same text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator.config.yaml import read_setting
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.space import Space, is_grid, to_plain

#: the space of a sweep without a space file; the overrides of its request are its dimensions
NO_SPACE = Space(name="sweep", summary="dimensions given as arguments", dimensions={}, mutations={})
_NUMBERS = ("uniform", "loguniform", "randint", "lograndint", "randn")
#: functions of ray.tune that create a domain
FUNCTIONS = (*_NUMBERS, *(f"q{name}" for name in _NUMBERS), "choice")
_CALL = re.compile(rf"({'|'.join(FUNCTIONS)})\((.*)\)", re.DOTALL)


def inline_overrides(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that give each key of a mapping its values.

    The mapping has dotted keys, or nested sections of the config. A list, `tune.grid_search` or a domain of Ray Tune
    makes a key a dimension. Raises ConfigError for a function (`tune.sample_from`), which cannot be stored.
    """
    overrides: dict[str, Any] = {}
    for key, value in space.items():
        if _is_section(key) and isinstance(value, Mapping) and not is_grid(value):
            overrides |= inline_overrides({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            overrides[key] = storable(key, value)
    return overrides


def parse_domain(value: object) -> Any:
    """Return the domain that a text such as `uniform(0.1, 0.5)` or `choice(a, b)` describes; another value as it is.

    Raises ConfigError for a call with arguments that the function does not accept.
    """
    call = _CALL.fullmatch(value.strip()) if isinstance(value, str) else None
    if call is None:
        return value
    from ray import tune

    name, inner = call.groups()
    try:
        arguments = read_setting(f"[{inner}]")
        if not isinstance(arguments, list) or not arguments:
            raise ValueError("the call has no arguments")
        return tune.choice(arguments) if name == "choice" else getattr(tune, name)(*map(_number, arguments))
    except Exception as error:
        problem = f"Ray Tune rejects this range ({' '.join(str(error).split())})"
        raise ConfigError("KEY=VALUE", value, problem, "write it as uniform(0.01, 0.1)") from error


def _number(argument: Any) -> float:
    """Return a number that YAML reads as text, such as 1e-3, as a number; an integer stays an integer."""
    return argument if isinstance(argument, int) else float(argument)


def domain_text(domain: Any) -> str:
    """Return the text that `parse_domain` reads as this domain. Raises ValueError for a domain without such a text."""
    from ray.tune.search.sample import Categorical, Float, Integer, LogUniform, Normal, Quantized

    if isinstance(domain, Categorical):
        return f"choice({json.dumps(to_plain(domain.categories))[1:-1]})"
    if not isinstance(domain, Float | Integer):
        raise ValueError(f"{domain!r} is not a range or a choice")
    sampler = domain.get_sampler()  # type: ignore[no-untyped-call]
    step = [sampler.q] if isinstance(sampler, Quantized) else []
    inner: Any = sampler.sampler if isinstance(sampler, Quantized) else sampler
    kind = "int" if isinstance(domain, Integer) else "uniform"
    if isinstance(inner, Normal):
        name, bounds = "randn", [inner.mean, inner.sd]
    else:
        name = f"log{kind}" if isinstance(inner, LogUniform) else kind
        name = name.replace("int", "randint")
        bounds = [domain.lower, domain.upper]
    return f"{'q' if step else ''}{name}({', '.join(str(number) for number in (*bounds, *step))})"


def storable(key: str, value: Any) -> Any:
    """Return the value of a key as plain types and lists, and a domain as text. Raises ConfigError for a function."""
    from ray.tune.search.sample import Domain

    if is_grid(value):
        return to_plain(value["grid_search"])
    if not isinstance(value, Domain):
        return to_plain(value)
    try:
        return domain_text(value)
    except ValueError as error:
        problem = "a sweep without a space file cannot store this function"
        raise ConfigError(key, value, problem, "write the space as a .py file with a dict SPACE") from error


def _is_section(key: str) -> bool:
    """Whether a dotted key names a section of the config, not a value."""
    kind: Any = ExperimentConfig
    for name in key.split("."):
        if name == "algorithm" and kind is ExperimentConfig:
            return key == "algorithm"
        field = kind.model_fields.get(name)
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return False
        kind = field.annotation
    return True
