"""How a round begins and ends: who takes part on what devices, who is drawn, and who is waited for.

`check_rounds` and what it calls raise ConfigError for options that do not go together.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from orchestrator.config.section import Positive, Section

if TYPE_CHECKING:
    pass


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
