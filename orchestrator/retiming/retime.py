"""Retimes a run: every client task keeps its bytes and FLOPs, and takes the time of a device of the other fleet."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from orchestrator.aggregation.costs import phase_s
from orchestrator.errors import CheckpointError, ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.device_assignment import device_of, sample_population
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.registry import get_fleet
from orchestrator.plugins.loading import relocated
from orchestrator.retiming.eligibility import availability_limit, require_retimable
from orchestrator.storage.event_log import committed_events, num_committed
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.sources import stored_places
from orchestrator.tracking.record import RoundRecord, read_records

_ROUND_S, _TOTAL_S = "time/emulated_s", "time/emulated_s_total"
#: allowed relative difference between the events' time and the recorded time
_RELATIVE_ERROR = 1e-9

Phases = Sequence[Sequence[ClientEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetimedRound:
    """One round: its emulated seconds in the run, and its retimed seconds on the other fleet.

    The accuracies are the round's `eval/accuracy` and `personal/accuracy_mean`, None in rounds without evaluation.
    """

    round_idx: int
    accuracy: float | None
    personal_accuracy: float | None
    emulated_s: float
    emulated_s_total: float
    retimed_s: float
    retimed_s_total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetimedRun:
    """All committed rounds of a run (at least one), with their times on `fleet` and on `other_fleet`.

    The run itself used `fleet`. The times on `other_fleet` assume that every device is always available and never
    vanishes; `availability_limit` says why this assumption is wrong (None: the assumption is right).
    """

    run_id: str
    fleet: str
    other_fleet: str
    rounds: tuple[RetimedRound, ...]
    availability_limit: str | None = None

    @property
    def ratio(self) -> float:
        """Total time on the other fleet divided by the total time of the run; NaN when the run took 0 s."""
        last = self.rounds[-1]
        return last.retimed_s_total / last.emulated_s_total if last.emulated_s_total else math.nan


def retime(
    folder: Path, fleet: str, *, redraw: bool | None = None, sparse_efficiency: float | None = None
) -> RetimedRun:
    """Compute the times of the run in `folder` on the named fleet; the run's own seed assigns devices to clients.

    `redraw` says whether each client gets a new device in every round (None: as in the run). `sparse_efficiency` is
    that of all devices (None: the run's `fleet.sparse_efficiency`, or without that key each profile's own).
    Raises RequestError when the result of the run depends on its devices, and CheckpointError when the logs of the run
    are inconsistent.
    """
    store = RunStore(folder)
    with relocated(stored_places(folder, store.about())):
        config = ExperimentConfig.parse(store.config())
        original_fleet = get_fleet(config.fleet.name, config.fleet.sparse_efficiency)
        require_retimable(config, original_fleet, folder / "failures.jsonl")
    other_fleet, population = _fleet_and_population(
        fleet,
        config,
        config.fleet.redraw if redraw is None else redraw,
        config.fleet.sparse_efficiency if sparse_efficiency is None else sparse_efficiency,
    )
    num_rounds = num_committed(folder)
    records = [record for record in read_records(folder / "metrics.jsonl") if record.round_idx < num_rounds]
    if not records:
        raise RequestError("RUN", folder.name, "it has no committed round", "resume the run first")
    rounds = retimed_rounds(records, committed_events(folder), population, config.seed)
    return RetimedRun(
        run_id=folder.name,
        fleet=original_fleet.name,
        other_fleet=other_fleet.name,
        rounds=tuple(rounds),
        availability_limit=availability_limit(other_fleet),
    )


def retimed_rounds(
    records: Sequence[RoundRecord], events: Iterable[ClientEvent], population: Population, seed: int
) -> Iterator[RetimedRound]:
    """Yield the recorded rounds with their times on the devices of `population`.

    `seed` is the run's root seed, which decides the devices of a population that is redrawn in every round.
    Raises CheckpointError when the events of a round do not add up to the time in its record.
    """
    total_s = 0.0
    for record, phases in _rounds(records, events):
        retimed_s = sum(phase_s([_retimed(event, population, seed) for event in phase]) for phase in phases)
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
    """Yield each record with the phases of its round."""
    groups = groupby(events, lambda event: event.round_idx)
    for record in records:
        round_idx, group = next(groups, (None, iter(())))
        phases = split_phases(group) if round_idx == record.round_idx else []
        events_s = sum(map(phase_s, phases))
        recorded_s = record.metrics.get(_ROUND_S, math.nan)
        if not math.isclose(events_s, recorded_s, rel_tol=_RELATIVE_ERROR):
            raise CheckpointError(
                f"the logs are inconsistent: the events of round {record.round_idx} take {events_s:g} emulated "
                f"seconds, but metrics.jsonl says {recorded_s:g}; run the experiment on the other fleet"
            )
        yield record, phases


def split_phases(events: Iterable[ClientEvent]) -> list[list[ClientEvent]]:
    """Split a round's events into phases; the tasks of a phase have one kind, one start, and rising positions."""
    phases: list[list[ClientEvent]] = []
    for event in events:
        if not phases or not _same_phase(phases[-1][-1], event):
            phases.append([])
        phases[-1].append(event)
    return phases


def _same_phase(previous: ClientEvent, event: ClientEvent) -> bool:
    same_kind_and_start = (previous.kind, previous.start_s) == (event.kind, event.start_s)
    return same_kind_and_start and previous.position < event.position


def _retimed(event: ClientEvent, population: Population, seed: int) -> ClientEvent:
    """The event with the durations of its client's device in `population`; `start_s` keeps its old value."""
    profile = device_of(population, seed, event.client_id, event.round_idx)
    time = client_time(
        profile,
        download_bytes=event.download_bytes,
        train_flops=event.train_flops,
        unmasked_flops=event.unmasked_flops,
        upload_bytes=event.upload_bytes,
    )
    return replace(
        event,
        profile=profile.name,
        download_s=time.download_s,
        compute_s=time.compute_s,
        compute_ideal_s=time.compute_ideal_s,
        upload_s=time.upload_s,
    )


def _fleet_and_population(
    name: str, config: ExperimentConfig, redraw: bool, sparse_efficiency: float | None
) -> tuple[Fleet, Population]:
    """Return the fleet of this name, and the devices that it gives to the run's clients."""
    if sparse_efficiency is not None and not 0.0 <= sparse_efficiency <= 1.0:
        raise RequestError(
            "--sparse-efficiency", sparse_efficiency, "it is no share", "give a number from 0 to 1"
        )
    try:
        fleet = get_fleet(name, sparse_efficiency)
        return fleet, sample_population(fleet, config.fleet.num_with_unseen, config.seed, redraw=redraw)
    except ConfigError as error:
        if error.field == "fleet.name":
            raise RequestError("--fleet", error.value, error.problem, error.remedy) from error
        if error.field == "fleet.redraw":
            raise RequestError("--redraw", error.value, error.problem, "use --no-redraw") from error
        raise
