"""The trials of a sweep: their values, configs and names."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.config.overrides import flatten, put_values
from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.space import (
    CONFIGURATIONS,
    grids_as_choices,
    is_computed,
    is_sampled,
    to_plain,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """Trial `number` (0-based) of a sweep. `values` maps the dotted keys that vary to the values of this trial."""

    number: int
    values: Mapping[str, Any]

    def to_line(self) -> str:
        """Return one line of JSON without a newline."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_line(cls, line: bytes) -> "TrialSpec":
        """Parse a line that `to_line` wrote. Raises ValueError for any other text."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.keys() != {"number", "values"}:
            raise ValueError("the line is not an object with number and values")
        return cls(**fields)

    def config(self, base: Mapping[str, Any]) -> ExperimentConfig:
        """Return the trial's config. Raises RequestError, which names the trial, when the values are invalid."""
        try:
            return ExperimentConfig.parse(put_values(base, self.values))
        except RequestError as error:
            problem = f"{error.problem} (trial {self.number}, {self.name})"
            raise type(error)(error.field, error.value, problem, error.remedy) from error

    @property
    def name(self) -> str:
        """The display name with the seed, such as `feddst level=0.8 seed=1`."""
        seed = {"seed": self.values["seed"]} if "seed" in self.values else {}
        return " ".join([self.configuration, *(f"seed={value}" for value in seed.values())])

    @property
    def configuration(self) -> str:
        """The display name without the seed; all trials of a configuration share it."""
        method = str(self.values.get("algorithm.name", "")).rpartition(":")[2]
        rest = [
            f"{key.rpartition('.')[2]}={_value_text(value)}"
            for key, value in self.values.items()
            if key not in ("algorithm.name", "seed")
        ]
        return " ".join([part for part in (method, *rest) if part]) or "defaults"


def generate_values(
    dimensions: Mapping[str, Any], request: SweepRequest, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield the values of each configuration of a grid or random search (dotted key -> value), without duplicates.

    Tune resolves the domains. Dimensions that are computed from other dimensions come last.
    """
    from ray.tune.search.variant_generator import generate_variants

    chosen = grids_as_choices(dimensions) if request.search == "random" else dict(dimensions)
    chosen = dict(sorted(chosen.items(), key=lambda item: is_computed(item[1])))
    has_domains = any(map(is_sampled, chosen.values()))
    seen = set()
    for _ in range(request.samples if has_domains else 1):
        for _, spec in generate_variants(chosen, random_state=rng):
            plain = to_plain(spec)
            values = {**plain.pop(CONFIGURATIONS, {}), **flatten(plain)}
            key = json.dumps(values, sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield values


def with_seeds(values: Mapping[str, Any], base_seed: int, num_seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the configuration once per seed. All configurations of a sweep use the same seeds."""
    if num_seeds == 1:
        yield dict(values)
        return
    for offset in range(num_seeds):
        yield {**values, "seed": base_seed + offset}


def check_configs(trials: Iterable[TrialSpec], base: Mapping[str, Any], objective: Objective) -> None:
    """Check the configs of all trials. Raises RequestError for the first invalid trial."""
    for trial in trials:
        objective.require_data(trial.config(base).data)


def _value_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
