"""From a request to a sweep that can start: what all trials share, which keys vary, and the trials known beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from orchestrator.config.overrides import flatten, put_values
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.seeds import stream
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.request import ADAPTIVE, SweepRequest, as_option_error, check_request
from orchestrator.sweeping.space import Space, is_at_or_below, load_space, plain, varied, with_overrides
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.trials import TrialSpec, check_configs, draw_values, with_seeds
from orchestrator.sweeping.typed import method_names, typed_dimensions, typed_value

#: sections that trials cannot differ in, since they share one Ray, one folder and one tracker
SHARED_SECTIONS = ("runtime", "tracking")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """`base` is the config tree that all trials begin with, `dimensions` what varies.

    `config` is some trial's: its runtime and tracking are all trials'. `seed` is the root of what is drawn.
    `overruled` are the keys of the user's config file that the space sets to something else.
    """

    request: SweepRequest
    space: Space
    objective: Objective
    base: Mapping[str, Any]
    dimensions: Mapping[str, Any]
    config: ExperimentConfig
    seed: int
    overruled: tuple[str, ...]

    @property
    def is_adaptive(self) -> bool:
        """Whether trials are chosen by what earlier ones came to."""
        return self.request.search in ADAPTIVE

    @property
    def mutable(self) -> tuple[str, ...]:
        """The keys that population-based training may change; none under another scheduler."""
        return tuple(self.space.mutations) if self.request.scheduler == "pbt" else ()

    def trials(self) -> list[TrialSpec]:
        """The trials of a grid or random search. Raises a RequestError for one that cannot be as it is."""
        rng = stream(self.seed, "sweep")
        specs: list[TrialSpec] = []
        for values in draw_values(self.dimensions, self.request, rng):
            for seeded in with_seeds(values, self.seed, self.request.seeds):
                specs.append(TrialSpec(number=len(specs), values=seeded))
        check_configs(specs, self.base)
        return specs


def plan_sweep(request: SweepRequest) -> SweepPlan:
    """Raises a RequestError for what cannot be done as asked."""
    space = load_space(request.space)
    dimensions = typed_dimensions(with_overrides(space.dimensions, request.overrides), request.config)
    objective = check_request(request, space, dimensions)
    _check_mutable(request, space, dimensions)
    open_keys = varied(dimensions)
    for key in open_keys:
        if key.partition(".")[0] in SHARED_SECTIONS:
            problem = "all trials of a sweep share their runtime and tracking"
            raise ConfigError(key, "(several values)", problem, "give it one value")
    of_trials = {*open_keys, *(space.mutations if request.scheduler == "pbt" else ())}
    # what is fixed inside of a dimension of mappings has the last word in every trial
    of_trials |= {key for key in dimensions if any(is_at_or_below(key, other) for other in open_keys)}
    fixed = {key: value for key, value in dimensions.items() if key not in of_trials}
    base = put_values(request.config, flatten(plain(fixed)))
    drawn = _method(base, open_keys) | {key: dimensions[key] for key in dimensions if key in of_trials}
    seed = ExperimentConfig.parse({"seed": base.get("seed", 0)}).seed
    asked = request.model_copy(update={"search": "random", "num_samples": 1})
    some = next(draw_values(drawn, asked, stream(seed, "sweep", "probe")))
    return SweepPlan(
        request=request,
        space=space,
        objective=objective,
        base=base,
        dimensions=drawn,
        config=ExperimentConfig.parse(put_values(base, some)),
        seed=seed,
        overruled=_overruled(request.config, space.dimensions, request.overrides),
    )


def _check_mutable(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> None:
    for key in space.mutations if request.scheduler == "pbt" else ():
        if key not in dimensions:
            problem = (
                f"MUTATIONS of space {space.name} has {key}, which its SPACE gives no value to begin with"
            )
            raise ConfigError(key, "(none)", problem, "add it to SPACE")


def _overruled(
    file: Mapping[str, Any], dimensions: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[str, ...]:
    methods = method_names(dimensions, file)
    return tuple(
        key
        for key, value in flatten(file).items()
        if any(
            is_at_or_below(key, other) and dimensions[other] != typed_value(key, value, methods)
            for other in dimensions
        )
        and not any(is_at_or_below(key, over) for over in overrides)
    )


def _method(base: Mapping[str, Any], open_keys: Sequence[str]) -> dict[str, str]:
    """The method as a value of every trial, so that each is called by it, where the space does not vary it."""
    if "algorithm" in open_keys or "algorithm.name" in open_keys:
        return {}
    chosen = base.get("algorithm", {})
    return {"algorithm.name": str(chosen.get("name", "fedavg"))} if isinstance(chosen, Mapping) else {}


def plan_again(store: SweepStore, **changes: object) -> SweepPlan:
    """The plan of a sweep that is there, with changes to its request; the sweep may have been moved.

    Raises CheckpointError when its folder does not say what was asked for, or when the space says something else by
    now, and what `plan_sweep` raises.
    """
    about = store.about()
    try:
        request = SweepRequest.model_validate(about["request"])
    except ValidationError as error:
        words = as_option_error(error)
        raise CheckpointError(
            f"{store.folder} was asked for in other words ({words}); start it anew"
        ) from error
    plan = plan_sweep(request.model_copy(update=changes))
    before, now = flatten(about["base"]), flatten(plan.base)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    changed += sorted(set(about.get("dimensions", plan.dimensions)) ^ set(plan.dimensions))
    if changed:
        raise CheckpointError(
            f"space {plan.space.name} is not what the sweep was started with, in {', '.join(changed)}; restore it, or "
            "start a new sweep"
        )
    here = {"runtime.storage": str(store.folder.parent)}
    runtime = plan.config.runtime.model_copy(update={"storage": store.folder.parent})
    config = plan.config.model_copy(update={"runtime": runtime})
    return replace(plan, base=put_values(plan.base, here), config=config)
