"""What a sweep was asked for, checked before anything is started."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from orchestrator.config.section import Positive, Section
from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.space import Space, is_at_or_below, is_drawn, is_grid, varied

Search = Literal["grid", "random", "tpe", "nsga2"]
Scheduler = Literal["fifo", "asha", "median", "pbt"]

#: samples of a space with something to draw, where the user gives no number
DEFAULT_SAMPLES = 10
ADAPTIVE = ("tpe", "nsga2")


class SweepRequest(Section):
    """A sweep in plain values: it is written to the sweep's folder, and read back when the sweep goes on."""

    space: str = Field(description="name of a search space, or a .py file")
    config: Mapping[str, Any] = Field({}, description="config tree that all trials begin with")
    overrides: Mapping[str, Any] = Field(
        {}, description="dotted key -> value that fixes a dimension, or a list that is one"
    )
    search: Search = Field("grid", description="how values are chosen")
    scheduler: Scheduler = Field("fifo", description="which trials are stopped early or changed")
    objective: str = Field("accuracy", description="what is looked for")
    num_samples: Positive | None = Field(None, description="draws (of each grid point); None: 10 where any")
    seeds: Positive = Field(1, description="seeds that every configuration is run with")
    max_concurrent: Positive | None = Field(None, description="trials at a time; None: one per core")
    grace_rounds: Positive | None = Field(
        None, description="rounds that every trial may run (asha, median); None: a quarter of the rounds"
    )
    perturb_rounds: Positive | None = Field(
        None, description="rounds between perturbations (pbt); None: a quarter of the rounds"
    )

    @property
    def samples(self) -> int:
        """Draws, where there is something to draw."""
        return self.num_samples or DEFAULT_SAMPLES


def check_request(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> Objective:
    """The parsed objective. Raises RequestError for options that do not go together."""
    objective = Objective.parse(request.objective)
    _check_samples(request, dimensions)
    _check_seeds(request, dimensions)
    if request.search == "nsga2" and len(objective.goals) == 1:
        _refuse(request, "search", "it looks for a Pareto front", "use --objective pareto, or --search tpe")
    if request.scheduler != "fifo" and not objective.is_known_early:
        problem = f"--objective {objective.text} is one number only when a trial has ended"
        _refuse(request, "scheduler", problem, "use fifo, or an objective on accuracy")
    _check_schedulers(request, space, dimensions)
    return objective


def _check_samples(request: SweepRequest, dimensions: Mapping[str, Any]) -> None:
    if request.search == "grid" and request.num_samples and not any(map(is_drawn, dimensions.values())):
        problem = "the space lists all its values, there is nothing to draw"
        _refuse(
            request, "num_samples", problem, "leave it out; --seeds repeats, --search random draws from lists"
        )
    if request.search != "grid" and not any(
        is_grid(value) or is_drawn(value) for value in dimensions.values()
    ):
        _refuse(request, "search", "the space has nothing to draw", "use grid, or leave a dimension open")


def _check_seeds(request: SweepRequest, dimensions: Mapping[str, Any]) -> None:
    if request.seeds > 1 and "seed" in varied(dimensions):
        _refuse(request, "seeds", "the space has seeds of its own", "leave it out, or fix them with seed=0")
    if request.seeds > 1 and request.search in ADAPTIVE and request.scheduler != "fifo":
        problem = (
            f"--search {request.search} learns from the mean over all seeds, which stopped trials do not have"
        )
        _refuse(request, "scheduler", problem, "use fifo, or one seed")


def _check_schedulers(request: SweepRequest, space: Space, dimensions: Mapping[str, Any]) -> None:
    for name, schedulers in (("grace_rounds", ("asha", "median")), ("perturb_rounds", ("pbt",))):
        if getattr(request, name) is not None and request.scheduler not in schedulers:
            _refuse(request, name, f"--scheduler {request.scheduler} has no use for it", "leave it out")
    if request.scheduler != "pbt":
        return
    if not space.mutations:
        problem = f"space {space.name} has no MUTATIONS, which say what may change"
        _refuse(
            request, "scheduler", problem, "choose feddst, fedspa, ssfl or fedlps, or add them to your space"
        )
    if request.search in ADAPTIVE:
        _refuse(
            request, "search", "population-based training changes the values itself", "use grid or random"
        )
    if request.seeds > 1 or "seed" in varied(dimensions):
        problem = "trials take over one another's models, and would take their seeds and splits with them"
        _refuse(request, "seeds" if request.seeds > 1 else "scheduler", problem, "use one seed with pbt")
    if request.max_concurrent is not None:
        _refuse(
            request,
            "max_concurrent",
            "a population lives at the same time",
            "leave it out; draw fewer trials",
        )
    fixed = [key for key in space.mutations if any(is_at_or_below(key, over) for over in request.overrides)]
    if fixed:
        problem = (
            f"the space lets population-based training change {', '.join(fixed)}, which the command fixes"
        )
        _refuse(request, "scheduler", problem, "leave that key to the sweep")


def _refuse(request: SweepRequest, name: str, problem: str, remedy: str) -> None:
    raise RequestError(f"--{name.replace('_', '-')}", getattr(request, name), problem, remedy)


def as_option_error(error: ValidationError) -> RequestError:
    """The first problem of options that make no request, in the words of the command line."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "request"
    known = SweepRequest.model_fields
    if name not in known:
        return RequestError(
            name, first["input"], "there is no such option", f"choose among {', '.join(known)}"
        )
    flag = name if name == "space" else f"--{name.replace('_', '-')}"
    problem = first["msg"][:1].lower() + first["msg"][1:]
    return RequestError(flag, first["input"], problem, f"it is: {known[name].description}")
