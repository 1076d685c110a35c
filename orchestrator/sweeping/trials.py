"""The trials of a sweep: what each one's config is, and what people call it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.config.overrides import flatten, put_values
from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.space import is_computed, is_drawn, lists_as_choices, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """Trial `number` (0-based) of a sweep; `values` are the dotted keys in which it differs from the sweep's config."""

    number: int
    values: Mapping[str, Any]

    def to_line(self) -> str:
        """One line of JSON without its newline."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_line(cls, line: bytes) -> "TrialSpec":
        """Inverse of `to_line`. Raises ValueError for anything else."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.keys() != {"number", "values"}:
            raise ValueError("not an object with number and values")
        return cls(**fields)

    def config(self, base: Mapping[str, Any]) -> ExperimentConfig:
        """The trial's config. Raises a RequestError, naming the trial, for values that make none."""
        try:
            return ExperimentConfig.parse(put_values(base, self.values))
        except RequestError as error:
            problem = f"{error.problem} (trial {self.number}, {self.name})"
            raise type(error)(error.field, error.value, problem, error.remedy) from error

    @property
    def name(self) -> str:
        """What people read: `feddst level=0.8 seed=1`."""
        seed = {"seed": self.values["seed"]} if "seed" in self.values else {}
        return " ".join([self.configuration, *(f"seed={value}" for value in seed.values())])

    @property
    def configuration(self) -> str:
        """The name without the seed, the same for all trials of one configuration."""
        method = str(self.values.get("algorithm.name", "")).rpartition(":")[2]
        rest = [
            f"{key.rpartition('.')[2]}={_shown(value)}"
            for key, value in self.values.items()
            if key not in ("algorithm.name", "seed")
        ]
        return " ".join([part for part in (method, *rest) if part]) or "defaults"


def draw_values(
    dimensions: Mapping[str, Any], request: SweepRequest, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Every configuration of a grid or random search: dotted key -> value, in order and none twice.

    Tune resolves the domains, those that are computed from other dimensions (`tune.sample_from`) last.
    """
    from ray.tune.search.variant_generator import generate_variants

    chosen = lists_as_choices(dimensions) if request.search == "random" else dict(dimensions)
    chosen = dict(sorted(chosen.items(), key=lambda item: is_computed(item[1])))
    drawn = any(map(is_drawn, chosen.values()))
    seen = set()
    for _ in range(request.samples if drawn else 1):
        for _, spec in generate_variants(chosen, random_state=rng):
            values = flatten(plain(spec))
            key = json.dumps(values, sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield values


def with_seeds(values: Mapping[str, Any], base_seed: int, num_seeds: int) -> Iterator[dict[str, Any]]:
    """The same configuration with each of so many seeds, which all configurations share."""
    if num_seeds == 1:
        yield dict(values)
        return
    for offset in range(num_seeds):
        yield {**values, "seed": base_seed + offset}


def check_configs(trials: Iterable[TrialSpec], base: Mapping[str, Any]) -> None:
    """Raise the first trial's ConfigError, before any has run."""
    for trial in trials:
        trial.config(base)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
