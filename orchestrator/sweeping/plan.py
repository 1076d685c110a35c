"""Plans a sweep from its request: the config that all trials share, the keys that vary, and the trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from orchestrator.config.formats import CONFIG_FORMATS
from orchestrator.config.overrides import flatten, put_values
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.seeds import stream
from orchestrator.plugins.loading import relocated
from orchestrator.storage.run_description import FORMAT_KEY
from orchestrator.storage.sources import stored_places
from orchestrator.sweeping.inline import NO_SPACE, parse_domain
from orchestrator.sweeping.objective import Objective, with_data
from orchestrator.sweeping.request import (
    ADAPTIVE,
    SweepRequest,
    as_option_error,
    check_request,
    check_round_options,
)
from orchestrator.sweeping.space import (
    CONFIGURATIONS,
    Space,
    is_at_or_below,
    load_space,
    to_plain,
    varying_keys,
    with_overrides,
)
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec, check_configs, generate_values, with_seeds
from orchestrator.sweeping.value_types import method_names, typed_dimensions, typed_value

#: sections that are equal for all trials, because all trials share one Ray cluster, one folder and one tracker
SHARED_SECTIONS = ("runtime", "tracking")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep that passed all checks.

    - `base`: config tree that all trials start from.
    - `dimensions`: dotted key -> domain, list or constant, for the keys that belong to the trials.
    - `config`: config of an example trial. All trials have its `runtime` and `tracking` sections.
    - `seed`: root seed of the search.
    - `overridden`: keys of the user's config file that the space sets to another value.
    """

    request: SweepRequest
    space: Space
    objective: Objective
    base: Mapping[str, Any]
    dimensions: Mapping[str, Any]
    config: ExperimentConfig
    seed: int
    overridden: tuple[str, ...]

    @property
    def is_adaptive(self) -> bool:
        """Whether the search chooses a trial from the results of earlier trials."""
        return self.request.search in ADAPTIVE

    @property
    def mutable(self) -> tuple[str, ...]:
        """The keys that population-based training may change; empty for other schedulers."""
        return tuple(self.space.mutations) if self.request.scheduler == "pbt" else ()

    def trials(self) -> list[TrialSpec]:
        """Return the trials of a grid or random search. Raises RequestError for a trial with an invalid config."""
        rng = stream(self.seed, "sweep")
        specs: list[TrialSpec] = []
        for values in generate_values(self.dimensions, self.request, rng):
            for seeded in with_seeds(values, self.seed, self.request.seeds):
                specs.append(TrialSpec(number=len(specs), values=seeded))
        check_configs(specs, self.base, self.objective)
        return specs


def plan_sweep(request: SweepRequest) -> SweepPlan:
    """Plan the sweep of a request. Raises RequestError for an invalid request."""
    space = NO_SPACE if request.space is None else load_space(request.space)
    overrides = {key: parse_domain(value) for key, value in request.overrides.items()}
    dimensions = typed_dimensions(with_overrides(space.dimensions, overrides), request.config)
    objective = check_request(request, space, dimensions)
    _check_mutable(request, space, dimensions)
    request = request.model_copy(update={"objective": objective.text})
    open_keys = varying_keys(dimensions)
    for key in open_keys:
        if key.partition(".")[0] in SHARED_SECTIONS:
            problem = "all trials of a sweep share their runtime and tracking sections"
            raise ConfigError(key, "(several values)", problem, "give this key one value")
    trial_keys = {*open_keys, CONFIGURATIONS, *(space.mutations if request.scheduler == "pbt" else ())}
    # a constant below a dimension of mappings must override the mapping in every trial
    trial_keys |= {key for key in dimensions if any(is_at_or_below(key, other) for other in open_keys)}
    fixed = {key: value for key, value in dimensions.items() if key not in trial_keys}
    base = put_values(request.config, flatten(to_plain(fixed)))
    trial_dimensions = _method_dimension(base, open_keys) | {
        key: value for key, value in dimensions.items() if key in trial_keys
    }
    seed = ExperimentConfig.parse({"seed": base.get("seed", 0)}).seed
    example_request = request.model_copy(update={"search": "random", "num_samples": 1})
    example = next(generate_values(trial_dimensions, example_request, stream(seed, "sweep", "probe")))
    config = ExperimentConfig.parse(put_values(base, example))
    if "training.rounds" not in trial_keys:
        check_round_options(request, config.training.rounds)
    if not any(is_at_or_below("data.validation_fraction", key) for key in trial_keys):
        objective.require_data(config.data)
    return SweepPlan(
        request=request,
        space=space,
        objective=objective,
        base=base,
        dimensions=trial_dimensions,
        config=config,
        seed=seed,
        overridden=_overridden(request.config, space.dimensions, request.overrides),
    )


def _check_mutable(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> None:
    for key in space.mutations if request.scheduler == "pbt" else ():
        if key not in dimensions:
            problem = f"MUTATIONS of space {space.name} has the key {key}, but SPACE gives no initial value"
            raise ConfigError(key, "(none)", problem, "add the key to SPACE")


def _overridden(
    file: Mapping[str, Any], dimensions: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[str, ...]:
    methods = method_names(dimensions, file)
    set_by_space = {**dict.fromkeys(varying_keys(dimensions)), **dimensions}
    return tuple(
        key
        for key, value in flatten(file).items()
        if any(
            is_at_or_below(key, other) and set_by_space[other] != typed_value(key, value, methods)
            for other in set_by_space
        )
        and not any(is_at_or_below(key, over) for over in overrides)
    )


def _method_dimension(base: Mapping[str, Any], open_keys: Sequence[str]) -> dict[str, str]:
    """Return the method as a constant dimension, so that every trial's name contains the method.

    Returns an empty dict when the space varies the method.
    """
    if "algorithm" in open_keys or "algorithm.name" in open_keys:
        return {}
    chosen = base.get("algorithm", {})
    return {"algorithm.name": str(chosen.get("name", "fedavg"))} if isinstance(chosen, Mapping) else {}


def plan_resumed_sweep(store: SweepStore, **changes: object) -> SweepPlan:
    """Plan an existing sweep from its folder, with changes to its request. The folder may have been moved.

    Raises CheckpointError when sweep.json is unreadable and when the search space has changed since the sweep
    started. Raises RequestError as `plan_sweep` does.
    """
    about = store.about()
    with relocated(stored_places(store.folder, about)):
        return _plan_resumed_sweep(store, about, changes)


def _plan_resumed_sweep(
    store: SweepStore, about: Mapping[str, Any], changes: Mapping[str, object]
) -> SweepPlan:
    try:
        request = SweepRequest.model_validate(about["request"])
    except ValidationError as error:
        raise CheckpointError(
            f"{store.folder} has a request that this version cannot read ({as_option_error(error)}); "
            "start a new sweep"
        ) from error
    stored_base, files = _in_latest_format(about, request.config)
    earlier = {"config": files, "objective": with_data(request.objective)}
    plan = plan_sweep(request.model_copy(update={**earlier, **changes}))
    before, now = flatten(stored_base), flatten(plan.base)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    changed += sorted(set(about.get("dimensions", plan.dimensions)) ^ set(plan.dimensions))
    if changed:
        raise CheckpointError(
            f"space {plan.space.name} has changed since the sweep started, in {', '.join(changed)}; "
            "restore the space, or start a new sweep"
        )
    storage = {"runtime.storage": str(store.folder.parent)}
    runtime = plan.config.runtime.model_copy(update={"storage": store.folder.parent})
    config = plan.config.model_copy(update={"runtime": runtime})
    return replace(plan, base=put_values(plan.base, storage), config=config)


def _in_latest_format(
    about: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the base and the config files of a stored sweep in the latest format of configs.

    The value of a key that a format added may depend on other keys. These may come from an override or from the space,
    so that the base decides for both; a key that varies between the trials has no known value.
    """
    version, base = about.get(FORMAT_KEY, 1), about["base"]
    varied = dict.fromkeys(key for key in about.get("dimensions", ()) if "." in key)
    decided = flatten(CONFIG_FORMATS.migrate(put_values(base, varied), version))

    def migrated(tree: Mapping[str, Any]) -> dict[str, Any]:
        latest = CONFIG_FORMATS.migrate(tree, version)
        added = flatten(latest).keys() - flatten(tree).keys()
        return put_values(latest, {key: decided[key] for key in added & decided.keys()})

    return migrated(base), migrated(config)
