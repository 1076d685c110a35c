"""The time of a run on another fleet: computed by hand, and compared with a real run on that fleet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import CheckpointError, RequestError
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.seeds import stream
from orchestrator.fleet.population import Population
from orchestrator.fleet.registry import FLEETS
from orchestrator.retiming import RetimedRound, retime
from orchestrator.retiming.retime import retimed_rounds, split_phases
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.event_logs import (
    EVENTS,
    FAST,
    MIDDLE,
    RECORDS,
    SLOW,
    probe,
    training,
    write_run,
)
from tests.support.fakes import population_of
from tests.support.runs import drive, fresh

#: client 0 has a middle device, client 1 a slow and client 2 a fast one
MIXED = population_of((MIDDLE, SLOW, FAST), [0, 1, 2])


def run_three_rounds(folder: Path, *overrides: str) -> None:
    """Run a small experiment of three rounds, and leave its folder as a session does."""
    experiment = fresh("training.rounds=3", *overrides)
    drive(experiment, folder)
    RunStore(folder).describe(experiment.config.to_dict(), {})


def without_start(events: tuple[ClientEvent, ...]) -> tuple[ClientEvent, ...]:
    """The events as older versions logged them, without start times."""
    return tuple(replace(event, start_s=0.0) for event in events)


@pytest.mark.parametrize("events", [EVENTS, without_start(EVENTS)])
def test_retimed_rounds_match_a_hand_calculation(events: tuple[ClientEvent, ...]) -> None:
    """Round 0: probe of the slow client, 6 s, then max(2 * 5.5, 18) s. Round 1: its two probes, 6 + 6 s, then 11 s."""
    assert list(retimed_rounds(RECORDS, events, MIXED, seed=0)) == [
        RetimedRound(
            round_idx=0,
            accuracy=None,
            personal_accuracy=None,
            emulated_s=26.0,
            emulated_s_total=26.0,
            retimed_s=24.0,
            retimed_s_total=24.0,
        ),
        RetimedRound(
            round_idx=1,
            accuracy=0.5,
            personal_accuracy=0.25,
            emulated_s=19.0,
            emulated_s_total=45.0,
            retimed_s=23.0,
            retimed_s_total=47.0,
        ),
    ]


@pytest.mark.parametrize(("efficiency", "retimed_s"), [(0.0, 17.0), (0.5, 14.0), (1.0, 11.0)])
def test_retime_depends_on_the_sparse_efficiency(efficiency: float, retimed_s: float) -> None:
    """One training with 300 FLOPs under a mask and 900 without it, on a device of 100 FLOP/s: 4 + 9 + 4 s at most."""
    event = replace(training(0, 0, 0), unmasked_flops=900.0)
    record = RoundRecord(0, 0, {"time/emulated_s": 11.0, "time/emulated_s_total": 11.0})
    devices = population_of((replace(MIDDLE, sparse_efficiency=efficiency),), [0])
    (found,) = retimed_rounds([record], [event], devices, seed=0)
    assert found.retimed_s == retimed_s


@pytest.mark.parametrize("here", [None, 0.0, 0.5, 1.0])
def test_retimed_masked_run_has_the_time_of_a_real_run_with_that_efficiency(
    tmp_path: Path, here: float | None
) -> None:
    """RandomMask at 0.8 trains with the same bits at every efficiency; None: that of the profiles, 0."""

    def option(efficiency: float | None) -> str:
        return f"fleet.sparse_efficiency={'null' if efficiency is None else efficiency}"

    def times(folder: Path) -> list[float]:
        return [r.metrics["time/emulated_s"] for r in read_records(folder / "metrics.jsonl")]

    run_three_rounds(tmp_path / "here", "algorithm.name=randommask", option(here))
    unchanged = retime(tmp_path / "here", "uniform")
    assert [row.retimed_s for row in unchanged.rounds] == pytest.approx(times(tmp_path / "here"), rel=1e-9)
    run_three_rounds(tmp_path / "there", "algorithm.name=randommask", option(0.75))
    found = retime(tmp_path / "here", "uniform", sparse_efficiency=0.75)
    assert [row.retimed_s for row in found.rounds] == pytest.approx(times(tmp_path / "there"), rel=1e-9)
    assert found.ratio != pytest.approx(1.0, abs=1e-3)


def test_client_that_trains_twice_adds_both_times() -> None:
    """Client 2 trains twice on a slow device: 6 + 2 * 18 s."""
    slow = population_of((SLOW,), [0, 0, 0])
    first, _ = retimed_rounds(RECORDS, EVENTS, slow, seed=0)
    assert first.retimed_s == 6.0 + 36.0


def test_redrawn_devices_depend_on_seed_round_and_client() -> None:
    """Slow and fast devices are equally likely. In round 1, client 0 trains and client 1 answers two probes."""
    redrawn = Population(
        profiles=(SLOW, FAST), shares=(1.0, 1.0), assignment=np.zeros(3, np.int32), redraw=True
    )
    seen = set()
    for seed in range(20):
        _, second = retimed_rounds(RECORDS, EVENTS, redrawn, seed)
        is_fast = [stream(seed, "client", 1, k, "device").random() >= 0.5 for k in range(2)]
        seen.add(tuple(is_fast))
        assert second.retimed_s == (5.5 if is_fast[0] else 18.0) + 2 * (2.0 if is_fast[1] else 6.0)
    assert len(seen) == 4


def test_split_phases_uses_kind_start_and_position() -> None:
    """The log has no events of the first two tasks of the second phase, because these tasks failed."""
    first, second, third = probe(0, 0, 0), probe(0, 1, 1), probe(0, 2, 2, 4.0)
    assert split_phases([first, second, third]) == [[first, second], [third]]
    again, train = probe(0, 0, 2), training(0, 1, 2)
    assert split_phases([first, second, again, train]) == [[first, second], [again], [train]]
    assert split_phases([]) == []


@pytest.mark.parametrize(
    ("events", "round_idx", "events_s", "recorded_s"),
    [
        ((), 0, 0, 26),
        (EVENTS[5:], 0, 0, 26),
        ((*EVENTS[:2], *EVENTS[3:]), 0, 15, 26),
        (EVENTS[:5], 1, 0, 19),
        (EVENTS[:-1], 1, 8, 19),
    ],
)
def test_retimed_rounds_rejects_events_that_contradict_the_recorded_time(
    events: tuple[ClientEvent, ...], round_idx: int, events_s: int, recorded_s: int
) -> None:
    numbers = rf"round {round_idx}\b.* {events_s} emulated.* {recorded_s}\b"
    with pytest.raises(CheckpointError, match=numbers):
        list(retimed_rounds(RECORDS, events, MIXED, seed=0))


def test_retimed_rounds_rejects_a_record_without_a_time() -> None:
    with pytest.raises(CheckpointError, match=r"round 0\b.*\bnan\b"):
        list(retimed_rounds([RoundRecord(0, 0, {})], EVENTS, MIXED, seed=0))


@pytest.mark.parametrize(
    ("overrides", "fleet"),
    [
        (("fleet.name=five-tier",), "five-tier"),
        (("fleet.name=five-tier", "fleet.redraw=true"), "five-tier"),
        (("algorithm.name=tests.support.probing_methods:Asking",), "uniform"),
        (("fleet.name=five-tier", "selection.kind=power_of_choice"), "five-tier"),
        (
            ("fleet.name=five-tier", "training.with_replacement=true", "training.clients_per_round=6"),
            "five-tier",
        ),
        (("fleet.name=five-tier", "algorithm.name=heterofl", "algorithm.ratio_policy=fixed"), "five-tier"),
    ],
)
def test_retime_on_the_same_fleet_gives_the_recorded_time(
    overrides: tuple[str, ...], fleet: str, tmp_path: Path
) -> None:
    run_three_rounds(tmp_path, *overrides)
    records, retimed_run = read_records(tmp_path / "metrics.jsonl"), retime(tmp_path, fleet)
    assert len(records) == len(retimed_run.rounds) == 3
    for record, row in zip(records, retimed_run.rounds, strict=True):
        assert row.retimed_s == pytest.approx(record.metrics["time/emulated_s"], rel=1e-9, abs=1e-9)
        assert row.retimed_s_total == pytest.approx(
            record.metrics["time/emulated_s_total"], rel=1e-9, abs=1e-9
        )
        assert row.accuracy == record.metrics["eval/accuracy"]
    assert retimed_run.ratio == pytest.approx(1.0, abs=1e-9)


def test_retime_on_another_fleet_gives_the_time_of_a_real_run_there(tmp_path: Path) -> None:
    """The expected times come from the same experiment on the other fleet, with fixed and with redrawn devices."""
    run_three_rounds(tmp_path / "here")
    for redraw in (False, True):
        there = tmp_path / f"there-{redraw}"
        run_three_rounds(there, "fleet.name=five-tier", f"fleet.redraw={redraw}")
        expected = [r.metrics["time/emulated_s"] for r in read_records(there / "metrics.jsonl")]
        found = retime(tmp_path / "here", "five-tier", redraw=redraw)
        assert [row.retimed_s for row in found.rounds] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert found.ratio != pytest.approx(1.0, abs=0.01)


def test_redraw_defaults_to_the_setting_of_the_run(tmp_path: Path) -> None:
    fixed = write_run(tmp_path / "fixed")
    redrawn = write_run(tmp_path / "redrawn", "fleet.redraw=true")
    times = {
        (run.name, redraw): [row.retimed_s for row in retime(run, "five-tier", redraw=redraw).rounds]
        for run in (fixed, redrawn)
        for redraw in (None, True, False)
    }
    assert times["fixed", None] == times["fixed", False] == times["redrawn", False]
    assert times["redrawn", None] == times["redrawn", True] == times["fixed", True]
    assert times["fixed", True] != times["fixed", False]


def test_seed_of_the_run_assigns_the_devices(tmp_path: Path) -> None:
    """Three clients on five tiers get three of the tiers, by the random stream of the run's fleet."""
    run = write_run(tmp_path / "run", "seed=7")
    tiers, rng = FLEETS["five-tier"].profiles, stream(7, "fleet")
    devices = [tiers[int(i)] for i in rng.permutation([0, 2, 4])]

    def task_s(client_id: int, down: int, flops: float, up: int) -> float:
        device = devices[client_id]
        up_s, down_s = up / device.uplink_bytes_per_s, down / device.downlink_bytes_per_s
        return down_s + flops / device.flops_per_s + up_s

    probe_s = [task_s(k, 10, 100.0, 2) for k in range(3)]
    train_s = [task_s(k, 20, 300.0, 8) for k in range(3)]
    first, second = retime(run, "five-tier").rounds
    assert first.retimed_s == pytest.approx(max(probe_s[:2]) + max(2 * train_s[2], train_s[1]), rel=1e-12)
    assert second.retimed_s == pytest.approx(2 * probe_s[1] + train_s[0], rel=1e-12)


def test_retime_ignores_rounds_that_are_not_committed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(RoundRecord(2, 0, {"time/emulated_s": 1.0}).to_line() + "\n")
    with (run / "events.jsonl").open("a") as file:
        file.write(training(2, 0, 0).to_line() + "\n" + training(2, 1, 1).to_line()[:9])
    assert [row.round_idx for row in retime(run, "uniform").rounds] == [0, 1]


def test_retime_rejects_a_run_without_a_committed_round(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", records=())
    with pytest.raises(RequestError) as caught:
        retime(run, "uniform")
    assert (caught.value.field, caught.value.value) == ("RUN", "run")
