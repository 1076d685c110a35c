"""How a round begins and ends: who takes part on what devices, who is drawn, and who is waited for.

`check_rounds` and what it calls raise ConfigError for options that do not go together.
"""

from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from orchestrator.config_section import Positive, Section
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.config import ExperimentConfig


class FleetConfig(Section):
    """Who takes part, and on what devices."""

    name: str = Field(
        "uniform",
        description="a built-in fleet (`sparsefleet list fleets`), a YAML fleet, or a CSV or Parquet trace",
    )
    num_clients: Positive = Field(20, description="clients in the population")
    redraw: bool = Field(
        False, description="a new device for every client in every round, drawn by the fleet's shares"
    )
    deadline_s: float | None = Field(
        None,
        gt=0.0,
        description="emulated seconds after which a round's training ends without its stragglers; None: never",
    )
    late: Literal["drop", "keep"] = Field(
        "drop",
        description="an update after the deadline is lost, or counts in the round in which it arrives, discounted as "
        "asynchrony.staleness says",
    )
    over_selection: float = Field(
        1.0,
        ge=1.0,
        description="clients drawn for each that is needed; a round ends when enough have answered",
    )


class SelectionConfig(Section):
    """Who is drawn for a round. No client is drawn twice, unless `training.with_replacement`."""

    kind: Literal["uniform", "samples", "available", "power_of_choice"] = Field(
        "uniform",
        description="all alike; by their samples; those that stay longest; of some candidates those of largest loss",
    )
    candidates: Positive | None = Field(
        None, description="clients that are asked first (available, power_of_choice); None: twice the cohort"
    )


class AsynchronyConfig(Section):
    """Rounds without waiting: the server takes a step whenever enough updates have arrived."""

    kind: Literal["none", "fedbuff", "fedasync"] = Field(
        "none",
        description="none: synchronous; fedbuff: mean of buffered changes; fedasync: mix each model in as it comes",
    )
    buffer_size: Positive = Field(5, description="updates that make a round (fedbuff)")
    mixing: float = Field(
        0.6, gt=0.0, le=1.0, description="alpha, weight of an update without staleness (fedasync)"
    )
    staleness: Literal["constant", "polynomial", "hinge"] = Field(
        "polynomial", description="s(tau): 1; (1 + tau)^-a; or 1 up to b, then 1 / (a (tau - b) + 1)"
    )
    exponent: float = Field(0.5, ge=0.0, description="a")
    hinge: Annotated[int, Field(ge=0)] = Field(4, description="b (staleness=hinge)")
    max_staleness: Positive | None = Field(
        None, description="updates that are staler than so many rounds are left out; None: none is"
    )
    weight: Literal["uniform", "method"] = Field(
        "uniform",
        description="updates of a buffer count alike, or as the method weighs its clients (fedbuff)",
    )


def check_rounds(config: "ExperimentConfig") -> None:
    """All that says how a round begins and ends."""
    _selection(config)
    _replacement(config)
    _late(config)
    _asynchrony_is_used(config)
    if config.asynchrony.kind != "none":
        _asynchrony(config)


def _selection(config: "ExperimentConfig") -> None:
    kind, candidates = config.selection.kind, config.selection.candidates
    if kind in ("available", "power_of_choice") and config.training.with_replacement:
        problem = "training.with_replacement=true draws clients twice, and these are the best of several"
        raise ConfigError("selection.kind", kind, problem, "draw without replacement")
    if candidates is None:
        return
    if kind in ("uniform", "samples"):
        problem = f"selection.kind={kind} asks nobody first"
        remedy = "leave it unset, or use available or power_of_choice"
        raise ConfigError("selection.candidates", candidates, problem, remedy)
    cohort = ceil(round(config.fleet.over_selection * config.training.clients_per_round, 9))
    if candidates < cohort:
        problem = f"a cohort of {cohort} is to be found among them"
        raise ConfigError("selection.candidates", candidates, problem, "ask more")
    if candidates > (population := config.fleet.num_clients):
        problem = f"it is more than fleet.num_clients={population}"
        raise ConfigError("selection.candidates", candidates, problem, "ask fewer")


def _replacement(config: "ExperimentConfig") -> None:
    """Tasks of a client drawn twice follow one another, so that none of them has a time of its own."""
    if not config.training.with_replacement:
        return
    fleet = config.fleet
    for key, value, used in (
        ("fleet.over_selection", fleet.over_selection, fleet.over_selection > 1.0),
        ("fleet.deadline_s", fleet.deadline_s, fleet.deadline_s is not None),
    ):
        if used:
            problem = "training.with_replacement=true draws clients twice, and their tasks follow one another"
            raise ConfigError(key, value, problem, "draw without replacement, or leave it unset")


def _late(config: "ExperimentConfig") -> None:
    if config.fleet.late == "keep" and config.fleet.deadline_s is None:
        problem = "no update is late without a deadline"
        raise ConfigError("fleet.late", "keep", problem, "set fleet.deadline_s")


def _asynchrony_is_used(config: "ExperimentConfig") -> None:
    """No option of asynchronous rounds is ignored; late updates that are kept are discounted as theirs are."""
    chosen = config.asynchrony
    discounts = ("staleness", "exponent", "hinge", "max_staleness")
    used = {
        "none": discounts if config.fleet.late == "keep" else (),
        "fedbuff": ("buffer_size", "weight", *discounts),
        "fedasync": ("mixing", *discounts),
    }[chosen.kind]
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        if name != "kind" and name not in used and value != field.default:
            problem = f"asynchrony.kind={chosen.kind} has no use for it"
            raise ConfigError(f"asynchrony.{name}", value, problem, "leave it unset, or choose another kind")


def _asynchrony(config: "ExperimentConfig") -> None:
    kind = config.asynchrony.kind
    synchronous = {
        "fleet.deadline_s": config.fleet.deadline_s is not None,
        "fleet.over_selection": config.fleet.over_selection > 1.0,
        "training.with_replacement": config.training.with_replacement,
        "selection.kind=power_of_choice": config.selection.kind == "power_of_choice",
    }
    for what, asked in synchronous.items():
        if asked:
            problem = f"rounds that wait for nobody do not go with {what}"
            raise ConfigError("asynchrony.kind", kind, problem, "take that back, or use none")
    step = config.asynchrony.buffer_size if kind == "fedbuff" else 1
    if (least := config.runtime.min_clients) > step:
        problem = f"with asynchrony.kind={kind} a round has {step} updates"
        raise ConfigError("runtime.min_clients", least, problem, "demand fewer")
