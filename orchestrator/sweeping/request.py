"""The options of a sweep, and the checks that reject options which do not fit together."""

from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from pydantic import Field, ValidationError

from orchestrator.config.overrides import flatten, put_values
from orchestrator.config.section import Positive, Section
from orchestrator.errors import RequestError
from orchestrator.formatting import counted
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.space import (
    CONFIGURATIONS,
    Space,
    is_at_or_below,
    is_grid,
    is_sampled,
    varying_keys,
)

Search = Literal["grid", "random", "tpe", "nsga2"]
Scheduler = Literal["fifo", "asha", "median", "pbt"]

#: samples that a search takes when the space has domains and the user gives no number
DEFAULT_SAMPLES = 10
#: searches that choose a trial from the results of earlier trials
ADAPTIVE = ("tpe", "nsga2")


class SweepRequest(Section):
    """The options of a sweep as plain values. The sweep's folder stores them, and a resumed sweep reads them back."""

    space: str | None = Field(
        None, description="name of a search space, or path of a .py file; None: the overrides are the space"
    )
    config: Mapping[str, Any] = Field({}, description="config tree that all trials start from")
    overrides: Mapping[str, Any] = Field(
        {},
        description="dotted key -> a value that fixes the key, or a list or the text of a range that makes the key a "
        "dimension",
    )
    search: Search = Field("grid", description="how the search chooses values")
    scheduler: Scheduler = Field("fifo", description="which trials are stopped early or changed")
    objective: str = Field(
        "accuracy",
        description="what the sweep optimises, on validation data unless its name starts with test_",
    )
    num_samples: Positive | None = Field(
        None, description="samples from the space's domains (for each grid point); None: 10"
    )
    seeds: Positive = Field(1, description="number of seeds for every configuration")
    max_concurrent: Positive | None = Field(
        None, description="trials that run at the same time; None: one per core"
    )
    grace_rounds: Positive | None = Field(
        None,
        description="rounds before a trial may be stopped (asha, median); None: a quarter of the rounds",
    )
    perturb_rounds: Positive | None = Field(
        None, description="rounds between perturbations (pbt); None: a quarter of the rounds"
    )

    @property
    def samples(self) -> int:
        """Number of samples that the search takes from the space's domains."""
        return self.num_samples or DEFAULT_SAMPLES


def with_tracking(request: SweepRequest, values: Mapping[str, str]) -> SweepRequest:
    """Return the request with these values for keys of `tracking`, in place of the user's.

    The sweep's folder stores the request, so that all trials and a resumed sweep use the same MLflow store.
    """
    section = flatten({"tracking": request.overrides["tracking"]}) if "tracking" in request.overrides else {}
    others = {key: value for key, value in request.overrides.items() if key != "tracking"}
    changes = {"overrides": {**section, **others, **values}, "config": put_values(request.config, values)}
    return request.model_copy(update=changes)


def check_request(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> Objective:
    """Return the parsed objective. Raises RequestError for options that do not fit together."""
    objective = Objective.parse(request.objective)
    _check_has_trials(request, dimensions)
    _check_samples(request, dimensions)
    if request.search in ADAPTIVE and CONFIGURATIONS in dimensions:
        problem = "the space lists whole configurations, from whose values this search cannot learn"
        _reject(request, "search", problem, "use grid or random, or write SPACE as a mapping")
    _check_seeds(request, dimensions)
    if request.search == "nsga2" and len(objective.metrics) == 1:
        _reject(request, "search", "nsga2 needs two metrics", "use --objective pareto, or --search tpe")
    if request.scheduler != "fifo" and not objective.is_known_early:
        problem = f"the value of --objective {objective.text} is known only when a trial has ended"
        _reject(request, "scheduler", problem, "use fifo, or an objective on accuracy")
    _check_schedulers(request, space, dimensions)
    return objective


def _check_has_trials(request: SweepRequest, dimensions: Mapping[str, Any]) -> None:
    """Raise RequestError for a sweep without a space whose arguments vary no key."""
    if request.space is None and request.seeds == 1 and not varying_keys(dimensions):
        problem = "without a search space, at least one key needs several values"
        raise RequestError(
            "SPACE", "", problem, "list values as KEY=[A, B], name a search space, or use --seeds"
        )


def _check_samples(request: SweepRequest, dimensions: Mapping[str, Any]) -> None:
    if request.search == "grid" and request.num_samples and not any(map(is_sampled, dimensions.values())):
        problem = "the space lists all its values and has no domain to sample from"
        remedy = (
            "leave the option out, repeat configurations with --seeds, or sample lists with --search random"
        )
        _reject(request, "num_samples", problem, remedy)
    if request.search != "grid" and not any(
        is_grid(value) or is_sampled(value) for value in dimensions.values()
    ):
        _reject(
            request,
            "search",
            "all keys of the space have a single value",
            "use grid, or leave a dimension open",
        )


def _check_seeds(request: SweepRequest, dimensions: Mapping[str, Any]) -> None:
    if request.seeds > 1 and "seed" in varying_keys(dimensions):
        problem = "the space varies the key seed itself"
        _reject(request, "seeds", problem, "leave the option out, or fix the key with seed=0")
    if request.seeds > 1 and request.search in ADAPTIVE and request.scheduler != "fifo":
        problem = f"--search {request.search} learns from the mean over all seeds, and a stopped trial has no result"
        _reject(request, "scheduler", problem, "use fifo, or one seed")


def _check_schedulers(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> None:
    for name, schedulers in (("grace_rounds", ("asha", "median")), ("perturb_rounds", ("pbt",))):
        if getattr(request, name) is not None and request.scheduler not in schedulers:
            _reject(
                request, name, f"--scheduler {request.scheduler} does not use this option", "leave it out"
            )
    if request.scheduler == "pbt":
        _check_population(request, space, dimensions)


def check_round_options(request: SweepRequest, rounds: int) -> None:
    """Raise RequestError for a number of rounds that no trial reaches; the trials have `rounds` rounds."""
    for name in ("grace_rounds", "perturb_rounds"):
        if (getattr(request, name) or 0) > rounds:
            problem = f"the trials end after {counted(rounds, 'round')} (training.rounds)"
            _reject(request, name, problem, f"use {rounds} or fewer, or raise training.rounds")


def _check_population(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> None:
    if not space.mutations:
        problem = f"space {space.name} has no MUTATIONS, so pbt may not change any key"
        remedy = "choose feddst, fedspa, ssfl or fedlps, or write a space file with MUTATIONS"
        _reject(request, "scheduler", problem, remedy)
    if request.search in ADAPTIVE:
        problem = "population-based training changes the values itself"
        _reject(request, "search", problem, "use grid or random")
    if request.seeds > 1 or "seed" in varying_keys(dimensions):
        problem = "a trial copies the model of another trial, and would copy its seed and partition too"
        _reject(request, "seeds" if request.seeds > 1 else "scheduler", problem, "use one seed with pbt")
    if request.max_concurrent is not None:
        problem = "all trials of a population run at the same time"
        _reject(request, "max_concurrent", problem, "leave it out, and lower --num-samples")
    fixed = [key for key in space.mutations if any(is_at_or_below(key, over) for over in request.overrides)]
    if fixed:
        problem = f"the command fixes {', '.join(fixed)}, which the space's MUTATIONS let pbt change"
        _reject(request, "scheduler", problem, f"remove {', '.join(fixed)} from the command")


def _reject(request: SweepRequest, name: str, problem: str, remedy: str) -> NoReturn:
    raise RequestError(f"--{name.replace('_', '-')}", getattr(request, name), problem, remedy)


def as_option_error(error: ValidationError) -> RequestError:
    """Convert the first validation problem of a request into an error that names the command-line option."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "request"
    known = SweepRequest.model_fields
    if name not in known:
        return RequestError(name, first["input"], "a sweep has no such option", f"use {', '.join(known)}")
    flag = name if name == "space" else f"--{name.replace('_', '-')}"
    problem = first["msg"][:1].lower() + first["msg"][1:]
    remedy = f"give a valid value for this option ({known[name].description})"
    return RequestError(flag, first["input"], problem, remedy)
