"""A run's time on other devices: by hand, and back on its own."""

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
    """A small run's folder, as a session leaves it."""
    experiment = fresh("training.rounds=3", *overrides)
    drive(experiment, folder)
    RunStore(folder).describe(experiment.config.to_dict(), {})


def without_start(events: tuple[ClientEvent, ...]) -> tuple[ClientEvent, ...]:
    """As logs were before they knew when a task started."""
    return tuple(replace(event, start_s=0.0) for event in events)


@pytest.mark.parametrize("events", [EVENTS, without_start(EVENTS)])
def test_three_clients_by_hand(events: tuple[ClientEvent, ...]) -> None:
    """Round 0: the slow client's answer, 6 s, then max(2 * 5.5, 18); round 1: its answers, 6 + 6 s, then 11 s."""
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


def test_a_client_drawn_twice_decides_a_round_where_its_device_is_slow() -> None:
    """Client 2 trains twice on a slow device: 6 + 2 * 18 s."""
    slow = population_of((SLOW,), [0, 0, 0])
    first, _ = retimed_rounds(RECORDS, EVENTS, slow, seed=0)
    assert first.retimed_s == 6.0 + 36.0


def test_devices_that_are_redrawn_follow_the_seed_the_round_and_the_client() -> None:
    """The slow and the fast device as likely; who trains in round 1 is client 0, who is asked client 1."""
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


def test_phases_are_told_apart_by_kind_start_and_position() -> None:
    """The first two tasks of the second phase have failed, and were left out."""
    first, second, third = probe(0, 0, 0), probe(0, 1, 1), probe(0, 2, 2, 4.0)
    assert split_phases([first, second, third]) == [[first, second], [third]]
    again, train = probe(0, 0, 2), training(0, 1, 2)
    assert split_phases([first, second, again, train]) == [[first, second], [again], [train]]
    assert split_phases([]) == []


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((), "round 0 come to 0 emulated seconds, metrics.jsonl says 26"),
        (EVENTS[5:], "round 0 come to 0 emulated seconds, metrics.jsonl says 26"),
        ((*EVENTS[:2], *EVENTS[3:]), "round 0 come to 15 emulated seconds, metrics.jsonl says 26"),
        (EVENTS[:5], "round 1 come to 0 emulated seconds, metrics.jsonl says 19"),
        (EVENTS[:-1], "round 1 come to 8 emulated seconds, metrics.jsonl says 19"),
    ],
)
def test_events_that_do_not_come_to_the_recorded_time_are_refused(
    events: tuple[ClientEvent, ...], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        list(retimed_rounds(RECORDS, events, MIXED, seed=0))


def test_a_record_without_a_time_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl says nan"):
        list(retimed_rounds([RoundRecord(0, 0, {})], EVENTS, MIXED, seed=0))


@pytest.mark.parametrize(
    ("overrides", "fleet"),
    [
        (("fleet.name=five-tier",), "five-tier"),
        (("fleet.name=five-tier", "fleet.redraw=true"), "five-tier"),
        (("algorithm.name=tests.support.methods:Asking",), "uniform"),
        (("fleet.name=five-tier", "selection.kind=power_of_choice"), "five-tier"),
        (
            ("fleet.name=five-tier", "training.with_replacement=true", "training.clients_per_round=6"),
            "five-tier",
        ),
        (("fleet.name=five-tier", "algorithm.name=heterofl", "algorithm.ratio_policy=fixed"), "five-tier"),
    ],
)
def test_on_its_own_fleet_a_run_takes_the_time_that_it_took(
    overrides: tuple[str, ...], fleet: str, tmp_path: Path
) -> None:
    run_three_rounds(tmp_path, *overrides)
    records, retiming = read_records(tmp_path / "metrics.jsonl"), retime(tmp_path, fleet)
    assert len(records) == len(retiming.rounds) == 3
    for record, row in zip(records, retiming.rounds, strict=True):
        assert row.retimed_s == pytest.approx(record.metrics["time/emulated_s"], rel=1e-9, abs=1e-9)
        assert row.retimed_s_total == pytest.approx(
            record.metrics["time/emulated_s_total"], rel=1e-9, abs=1e-9
        )
        assert row.accuracy == record.metrics["eval/accuracy"]
    assert retiming.ratio == pytest.approx(1.0, abs=1e-9)


def test_a_run_on_another_fleet_takes_the_time_that_it_would_have_taken(tmp_path: Path) -> None:
    """The oracle is the run itself, done again over there; redrawn devices too."""
    run_three_rounds(tmp_path / "here")
    for redraw in (False, True):
        there = tmp_path / f"there-{redraw}"
        run_three_rounds(there, "fleet.name=five-tier", f"fleet.redraw={redraw}")
        expected = [r.metrics["time/emulated_s"] for r in read_records(there / "metrics.jsonl")]
        found = retime(tmp_path / "here", "five-tier", redraw=redraw)
        assert [row.retimed_s for row in found.rounds] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert found.ratio != pytest.approx(1.0, abs=0.01)


def test_redrawing_is_the_runs_own_unless_told_otherwise(tmp_path: Path) -> None:
    kept = write_run(tmp_path / "kept")
    redrawn = write_run(tmp_path / "redrawn", "fleet.redraw=true")
    times = {
        (run.name, redraw): [row.retimed_s for row in retime(run, "five-tier", redraw=redraw).rounds]
        for run in (kept, redrawn)
        for redraw in (None, True, False)
    }
    assert times["kept", None] == times["kept", False] == times["redrawn", False]
    assert times["redrawn", None] == times["redrawn", True] == times["kept", True]
    assert times["kept", True] != times["kept", False]


def test_devices_are_dealt_by_the_runs_own_seed(tmp_path: Path) -> None:
    """On five tiers the three clients get three of them, by the stream that a run's fleet comes from."""
    run = write_run(tmp_path / "run", "seed=7")
    tiers, rng = FLEETS["five-tier"].profiles, stream(7, "fleet")
    dealt = [tiers[int(i)] for i in rng.permutation([0, 2, 4])]

    def taken_s(client_id: int, down: int, flops: float, up: int) -> float:
        device = dealt[client_id]
        up_s, down_s = up / device.uplink_bytes_per_s, down / device.downlink_bytes_per_s
        return down_s + flops / device.flops_per_s + up_s

    asked = [taken_s(k, 10, 100.0, 2) for k in range(3)]
    trained = [taken_s(k, 20, 300.0, 8) for k in range(3)]
    first, second = retime(run, "five-tier").rounds
    assert first.retimed_s == pytest.approx(max(asked[:2]) + max(2 * trained[2], trained[1]), rel=1e-12)
    assert second.retimed_s == pytest.approx(2 * asked[1] + trained[0], rel=1e-12)


def test_only_committed_rounds_count(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(RoundRecord(2, 0, {"time/emulated_s": 1.0}).to_line() + "\n")
    with (run / "events.jsonl").open("a") as file:
        file.write(training(2, 0, 0).to_line() + "\n" + training(2, 1, 1).to_line()[:9])
    assert [row.round_idx for row in retime(run, "uniform").rounds] == [0, 1]


def test_a_run_without_a_committed_round_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", records=())
    with pytest.raises(RequestError, match="RUN=run: it has no committed round"):
        retime(run, "uniform")
