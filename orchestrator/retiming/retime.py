"""A run on other devices: every participation keeps its bytes and FLOPs, and takes the other device's time."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from orchestrator.aggregation.costs import phase_s
from orchestrator.errors import CheckpointError, ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.device_assignment import device_of, draw_population
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.registry import get_fleet
from orchestrator.retiming.timeless import comes_and_goes, require_timeless
from orchestrator.storage.event_log import committed_events, num_committed
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord, read_records

_ROUND_S, _TOTAL_S = "time/emulated_s", "time/emulated_s_total"
#: how far the events' time may be from the recorded one
_RELATIVE_ERROR = 1e-9

Phases = Sequence[Sequence[ClientEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetimedRound:
    """One round in emulated seconds, as the run had it and on the other fleet.

    The accuracies are the round's `eval/accuracy` and `personal/accuracy_mean`; None where it measured none.
    """

    round_idx: int
    accuracy: float | None
    personal_accuracy: float | None
    emulated_s: float
    emulated_s_total: float
    retimed_s: float
    retimed_s_total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retiming:
    """All committed rounds of a run (at least one), which ran on `fleet`, on another fleet.

    Over there every device is taken to be there for its tasks and to answer; `although` says why that would not be so
    (None: it would).
    """

    run_id: str
    fleet: str
    other: str
    rounds: tuple[RetimedRound, ...]
    although: str | None = None

    @property
    def ratio(self) -> float:
        """The run's time on the other fleet over the time that it took; NaN where that was 0."""
        last = self.rounds[-1]
        return last.retimed_s_total / last.emulated_s_total if last.emulated_s_total else math.nan


def retime(folder: Path, fleet: str, *, redraw: bool | None = None) -> Retiming:
    """The run in this folder on the named fleet, its clients' devices drawn from the run's own seed.

    `redraw` gives every client a new device in every round (None: as in the run). Raises a RequestError for a run
    that would have been another one there, and CheckpointError where its logs contradict one another.
    """
    config = ExperimentConfig.parse(RunStore(folder).config())
    own = get_fleet(config.fleet.name)
    require_timeless(config, own, folder / "failures.jsonl")
    other, population = _populated(fleet, config, config.fleet.redraw if redraw is None else redraw)
    num_rounds = num_committed(folder)
    records = [record for record in read_records(folder / "metrics.jsonl") if record.round_idx < num_rounds]
    if not records:
        raise RequestError("RUN", folder.name, "it has no committed round", "run it first")
    rounds = retimed_rounds(records, committed_events(folder), population, config.seed)
    return Retiming(
        run_id=folder.name,
        fleet=own.name,
        other=other.name,
        rounds=tuple(rounds),
        although=comes_and_goes(other),
    )


def retimed_rounds(
    records: Sequence[RoundRecord], events: Iterable[ClientEvent], population: Population, seed: int
) -> Iterator[RetimedRound]:
    """The recorded rounds on the devices of a population, which are redrawn, if at all, under this root seed.

    Raises CheckpointError where the events of a round do not come to the time that its record has.
    """
    total_s = 0.0
    for record, phases in _rounds(records, events):
        retimed_s = sum(phase_s([_moved(event, population, seed) for event in phase]) for phase in phases)
        total_s += retimed_s
        yield RetimedRound(
            round_idx=record.round_idx,
            accuracy=record.metrics.get("eval/accuracy"),
            personal_accuracy=record.metrics.get("personal/accuracy_mean"),
            emulated_s=record.metrics[_ROUND_S],
            emulated_s_total=record.metrics[_TOTAL_S],
            retimed_s=retimed_s,
            retimed_s_total=total_s,
        )


def _rounds(
    records: Sequence[RoundRecord], events: Iterable[ClientEvent]
) -> Iterator[tuple[RoundRecord, Phases]]:
    """Each record with the phases of its round."""
    groups = groupby(events, lambda event: event.round_idx)
    for record in records:
        round_idx, group = next(groups, (None, iter(())))
        phases = split_phases(group) if round_idx == record.round_idx else []
        found_s = sum(map(phase_s, phases))
        recorded_s = record.metrics.get(_ROUND_S, math.nan)
        if not math.isclose(found_s, recorded_s, rel_tol=_RELATIVE_ERROR):
            raise CheckpointError(
                f"the events of round {record.round_idx} come to {found_s:g} emulated seconds, metrics.jsonl says "
                f"{recorded_s:g}; the run cannot be retimed from these logs"
            )
        yield record, phases


def split_phases(events: Iterable[ClientEvent]) -> list[list[ClientEvent]]:
    """A round's events by phase: tasks of one kind that start together, in the order of their positions."""
    phases: list[list[ClientEvent]] = []
    for event in events:
        if not phases or not _same_phase(phases[-1][-1], event):
            phases.append([])
        phases[-1].append(event)
    return phases


def _same_phase(before: ClientEvent, event: ClientEvent) -> bool:
    together = (before.kind, before.start_s) == (event.kind, event.start_s)
    return together and before.position < event.position


def _moved(event: ClientEvent, population: Population, seed: int) -> ClientEvent:
    """The participation on its client's device in that population; `start_s`, which no duration needs, stays."""
    profile = device_of(population, seed, event.client_id, event.round_idx)
    time = client_time(
        profile,
        download_bytes=event.download_bytes,
        train_flops=event.train_flops,
        upload_bytes=event.upload_bytes,
    )
    return replace(
        event,
        profile=profile.name,
        download_s=time.download_s,
        compute_s=time.compute_s,
        upload_s=time.upload_s,
    )


def _populated(name: str, config: ExperimentConfig, redraw: bool) -> tuple[Fleet, Population]:
    """The fleet of that name, and the devices that the run's clients have there."""
    try:
        fleet = get_fleet(name)
        return fleet, draw_population(fleet, config.fleet.num_clients, config.seed, redraw=redraw)
    except ConfigError as error:
        if error.field == "fleet.name":
            raise RequestError("--fleet", error.value, error.problem, error.remedy) from error
        if error.field == "fleet.redraw":
            raise RequestError("--redraw", error.value, error.problem, "say --no-redraw") from error
        raise
