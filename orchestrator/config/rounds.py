"""The sections that decide who takes part in a round and when a round ends: fleet, selection and asynchrony.

`orchestrator.experiment.checks` rejects options of these sections that exclude each other.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.config.section import OwnObject, Positive, Section, dotted_names


class FleetConfig(Section):
    """The clients and their devices."""

    name: str = Field(
        "uniform",
        description="a built-in fleet (`sparsefleet list fleets`), a YAML fleet, or a CSV or Parquet trace",
    )
    num_clients: Positive = Field(20, description="number of clients in the population")
    unseen_clients: Annotated[int, Field(ge=0)] = Field(
        0,
        description="further clients with data and devices that never train; only the metrics `*/unseen_accuracy_*` "
        "describe them",
    )
    redraw: bool = Field(
        False, description="give every client a new device in every round, sampled by the fleet's shares"
    )
    sparse_efficiency: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="share of the masked FLOPs whose time the devices save: 0 none, 1 all; None: that of each profile "
        "(0 unless a fleet file sets it)",
    )
    deadline_s: float | None = Field(
        None,
        gt=0.0,
        description="emulated seconds after which a round's training ends without its stragglers; None: no deadline",
    )
    late: Literal["drop", "keep"] = Field(
        "drop",
        description="drop updates that arrive after the deadline, or keep them for the round of their arrival, "
        "discounted by asynchrony.staleness",
    )
    over_selection: float = Field(
        1.0,
        ge=1.0,
        description="clients sampled per client needed; a round ends when enough updates have arrived",
    )

    @property
    def num_with_unseen(self) -> int:
        """Number of clients that have data and a device. The ids of unseen clients follow those of the population."""
        return self.num_clients + self.unseen_clients


class SelectionConfig(Section):
    """How a round's cohort is sampled: without replacement, unless `training.with_replacement` is set."""

    kind: Literal["uniform", "samples", "available", "power_of_choice", "oort", "refl"] | OwnObject = Field(
        "uniform",
        description="uniform; by number of samples; clients that stay available longest; of several candidates those "
        "with the largest loss; oort: by utility and speed; refl: clients that soon become unavailable; or "
        "`path/to/file.py:function`",
    )
    options: Annotated[Mapping[str, Any], BeforeValidator(dotted_names)] = Field(
        {}, description="keyword arguments of your own function (kind=path/to/file.py:function)"
    )
    candidates: Positive | None = Field(
        None,
        description="clients to compare first (available, power_of_choice); None: twice the cohort",
    )
    cooldown: Annotated[int, Field(ge=0)] = Field(
        5, description="rounds after its participation in which a client is not sampled (refl)"
    )

    @property
    def is_own(self) -> bool:
        """Whether a user's function samples the cohorts."""
        return ":" in self.kind

    @property
    def learns(self) -> bool:
        """Whether earlier participations decide about later cohorts."""
        return self.is_own or self.kind in ("oort", "refl")


class AsynchronyConfig(Section):
    """Asynchronous rounds: the server updates its model whenever enough updates have arrived."""

    kind: Literal["none", "fedbuff", "fedasync"] = Field(
        "none",
        description="none: synchronous; fedbuff: mean of buffered changes; fedasync: mix in each model on arrival",
    )
    buffer_size: Positive = Field(5, description="number of updates per round (fedbuff)")
    mixing: float = Field(
        0.6, gt=0.0, le=1.0, description="alpha, weight of an update without staleness (fedasync)"
    )
    staleness: Literal["constant", "polynomial", "hinge", "refl"] = Field(
        "polynomial",
        description="s(tau): 1; (1 + tau)^-a; or 1 up to b, then 1 / (a (tau - b) + 1); refl: weights by the delay and "
        "by the distance from the round's fresh updates (fleet.late=keep)",
    )
    exponent: float = Field(0.5, ge=0.0, description="a in s(tau)")
    hinge: Annotated[int, Field(ge=0)] = Field(4, description="b in s(tau) (staleness=hinge)")
    refl_beta: float = Field(
        0.35, ge=0.0, le=1.0, description="beta, share of the distance in a weight (staleness=refl)"
    )
    refl_scale: float = Field(
        10.0, ge=1.0, description="c in beta (1 - exp(-distance / largest distance) / c) (staleness=refl)"
    )
    max_staleness: Positive | None = Field(
        None, description="discard updates that are staler than this many rounds; None: discard none"
    )
    weight: Literal["uniform", "method"] = Field(
        "uniform",
        description="weight of the updates in a buffer: equal, or as the method weights its clients (fedbuff)",
    )
