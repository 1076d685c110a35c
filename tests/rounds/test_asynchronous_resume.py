"""Asynchronous runs with kills, failed tasks and changing availability."""

from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.sampler import POLL_INTERVAL_S, CohortSampler
from tests.support.runs import (
    REMEMBERING,
    Flaky,
    drive,
    new_driver,
    prepared,
    server_mask_bytes,
)
from tests.support.timing import (
    FEDASYNC,
    FEDBUFF,
    TIERS,
    assert_same_run,
    brief,
    events,
    metrics,
    with_availability,
    with_durations,
)

RESUMED = {
    "dense": ("algorithm.name=fedavg",),
    "momentum": ("algorithm.name=fedavgm", "wire.value_dtype=float16"),
    "client state": ("algorithm.name=fedspa",),
    "state everywhere": (REMEMBERING,),
    "moving mask": ("algorithm.name=feddst", "algorithm.readjust_every=1", "algorithm.end_round=100"),
    "messages to one client": (
        "algorithm.name=tests.support.message_methods:Tailored",
        "algorithm.renew_every=2",
    ),
    "no model": ("algorithm.name=tests.support.message_methods:Voting",),
    "devices that leave": (REMEMBERING, "fleet.name=phones-and-edge"),
    "a device each round": (REMEMBERING, "fleet.redraw=true", "asynchrony.max_staleness=1"),
}


class TestResume:
    """A run that is killed or stopped anywhere ends where the undisturbed run ends, bit for bit."""

    @pytest.mark.parametrize("name", RESUMED)
    def test_killed_after_every_round_in_turn(self, tmp_path: Path, name: str) -> None:
        experiment = prepared(*TIERS, "training.rounds=5", *RESUMED[name])
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        assert max(row["fleet/in_flight"] for row in metrics(tmp_path / "undisturbed")) > 0
        for _ in range(5):
            drive(experiment, tmp_path / "killed", killed_after=1)
        assert drive(experiment, tmp_path / "killed").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")

    @pytest.mark.parametrize("num_rounds", [1, 2, 3])
    def test_stopped_after_some_rounds(self, tmp_path: Path, num_rounds: int) -> None:
        experiment = with_durations(
            (1.0, 2.0, 4.0), *FEDBUFF, REMEMBERING, "training.rounds=5", "training.eval_every=1"
        )
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        drive(experiment, tmp_path / "stopped", stopped_after=num_rounds)
        assert num_rounds <= len(metrics(tmp_path / "stopped")) <= num_rounds + 1
        assert drive(experiment, tmp_path / "stopped").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "stopped", tmp_path / "undisturbed")

    def test_extended_run_equals_the_longer_run(self, tmp_path: Path) -> None:
        """Tasks in flight after the last round count in the rounds of the extended run."""
        short, longer = (
            with_durations(
                (1.0, 2.0, 8.0), *FEDBUFF, REMEMBERING, f"training.rounds={n}", "training.eval_every=1"
            )
            for n in (3, 7)
        )
        undisturbed = drive(longer, tmp_path / "longer")
        drive(short, tmp_path / "extended")
        assert metrics(tmp_path / "extended")[-1]["fleet/in_flight"] > 0
        assert drive(longer, tmp_path / "extended").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "extended", tmp_path / "longer")

    @staticmethod
    def _slow_and_quick() -> Experiment:
        return with_durations((1.0, 6.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=15")

    def test_old_server_states_are_kept_until_no_task_needs_them(self, tmp_path: Path) -> None:
        """Client 1's second task begins after round 5, at 6 s, and its update arrives at 12 s, in round 12.

        After rounds 5 and 12, client 0 trains on the model before, because both updates arrive at the same time.
        The states that the previous checkpoint needs are kept too.
        """
        experiment = self._slow_and_quick()
        kept = []
        for _ in new_driver(experiment, tmp_path).run():
            kept.append(sorted(int(path.stem[-6:]) for path in tmp_path.glob("commits/server-*")))
        slow = [(e["round_idx"], e["staleness"]) for e in events(tmp_path) if e["client_id"] == 1]
        assert slow == [(5, 5), (12, 6)]
        last_two = [[0], *([r - 1, r] for r in range(1, 6))]
        under_way = [[5, r - 1, r] for r in range(8, 12)]
        assert kept == [*last_two, [4, 5, 6], [5, 6, 7], *under_way, [5, 11, 12], [11, 12, 13], [12, 13, 14]]

    @pytest.mark.parametrize("num_rounds", [6, 7, 10, 13])
    def test_resume_from_the_checkpoint_before_the_last(self, tmp_path: Path, num_rounds: int) -> None:
        experiment = self._slow_and_quick()
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        drive(experiment, tmp_path / "back", killed_after=num_rounds)
        (tmp_path / "back" / "commits" / f"round-{num_rounds - 1:06d}.json").unlink()
        assert drive(experiment, tmp_path / "back").params_sha256() == undisturbed.params_sha256()

    def test_error_names_a_damaged_old_server_state(self, tmp_path: Path) -> None:
        """After round 9 the slow client is under way with the model after round 5."""
        experiment = self._slow_and_quick()
        drive(experiment, tmp_path, killed_after=10)
        path = tmp_path / "commits" / "server-000005.safetensors"
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"server-000005\.safetensors"):
            drive(experiment, tmp_path)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"server-000005\.safetensors"):
            drive(experiment, tmp_path)

    def test_reopened_finished_run_trains_nothing(self, tmp_path: Path) -> None:
        experiment = with_durations((1.0, 2.0, 4.0), *FEDBUFF)
        drive(experiment, tmp_path)
        executor = Flaky(experiment, {})
        drive(experiment, tmp_path, executor=executor)
        assert executor.submitted == []


class TestFailures:
    """Tasks that fail."""

    def test_retries_do_not_change_the_result(self, tmp_path: Path) -> None:
        experiment = prepared(*TIERS, REMEMBERING)
        undisturbed = drive(experiment, tmp_path / "a")
        flaky = Flaky(experiment, {(0, 0): 2, (1, 0): 1, (2, 1): 2})
        assert (
            drive(experiment, tmp_path / "b", executor=flaky).params_sha256() == undisturbed.params_sha256()
        )
        assert [e["client_id"] for e in events(tmp_path / "b")] == [
            e["client_id"] for e in events(tmp_path / "a")
        ]
        assert sum(row["fleet/failures"] for row in metrics(tmp_path / "b")) >= 3

    def test_dropped_failure_frees_the_place(self, tmp_path: Path) -> None:
        """Three of six clients train. A failed task frees its place at the lower bound of its arrival."""
        experiment = with_durations((2.0,) * 6, *FEDBUFF, "runtime.failure_policy=drop")
        first = CohortSampler(experiment).cohort(0)
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 0): 1}))
        assert metrics(tmp_path)[0]["fleet/failures"] == 1
        assert [e["client_id"] for e in events(tmp_path)][:2] == list(first[1:])
        assert (tmp_path / "failures.jsonl").read_text().count(f'"client_id": {first[0]}') == 1
        assert all(row["fleet/participants"] == 2 for row in metrics(tmp_path))
        assert metrics(tmp_path)[0]["fleet/in_flight"] == 1
        began = next(e["start_s"] for e in events(tmp_path) if e["start_s"] > 0.0)
        assert began == pytest.approx(2.0, rel=1e-8)

    def test_run_whose_tasks_all_fail_ends_with_their_cause(self, tmp_path: Path) -> None:
        options = ("algorithm.name=tests.support.methods:Misbehaving", "runtime.failure_policy=drop")
        experiment = with_durations(
            (1.0,), *FEDBUFF, *options, "algorithm.client_id=0", "training.clients_per_round=1"
        )
        with pytest.raises(RoundError, match="ZeroDivisionError") as caught:
            drive(experiment, tmp_path)
        assert (caught.value.round_idx, caught.value.num_updates) == (0, 0)
        assert "201 tasks" in str(caught.value)


class TestAvailability:
    """Clients whose availability changes."""

    def test_only_available_clients_start(self, tmp_path: Path) -> None:
        """Client 0 leaves at 2.5 s, in its third task; client 1 arrives at 5 s; client 2 is always available."""
        experiment = with_availability(
            with_durations((1.0, 1.0, 4.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=6"),
            [[(0.0, 2.5)], [(5.0, 99.0)], [(0.0, 99.0)]],
        )
        drive(experiment, tmp_path)
        found = [(brief(e)[1:4], e["outcome"]) for e in events(tmp_path)]
        assert found[:4] == [
            ((0, 0.0, 1.0), "used"),
            ((0, 1.0, 2.0), "used"),
            ((0, 2.0, 2.5), "vanished"),
            ((2, 0.0, 4.0), "used"),
        ]
        # at 4 s only client 2 is available and starts again; the driver finds client 1 at 8 s, when client 2 ends
        assert found[4] == ((2, 4.0, 8.0), "used")
        assert found[5] == ((1, 8.0, 9.0), "used")
        assert events(tmp_path)[2]["upload_bytes"] == 0

    def test_clock_advances_by_poll_interval_when_no_client_trains(self, tmp_path: Path) -> None:
        experiment = with_availability(
            with_durations((1.0, 1.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=3"),
            [[(0.0, 1.0), (100.0, 999.0)], []],
        )
        drive(experiment, tmp_path)
        assert [e["start_s"] for e in events(tmp_path)] == [
            0.0,
            1.0 + 2 * POLL_INTERVAL_S,
            2.0 + 2 * POLL_INTERVAL_S,
        ]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [1.0, 2 * POLL_INTERVAL_S + 1.0, 1.0]

    def test_wait_raises_after_a_week(self, tmp_path: Path) -> None:
        experiment = with_availability(
            with_durations((1.0,), *FEDASYNC, "training.clients_per_round=1", "training.rounds=3"),
            [[(0.0, 1.0)]],
        )
        with pytest.raises(RoundError, match="a week") as caught:
            drive(experiment, tmp_path)
        assert caught.value.round_idx == 1
        assert len(metrics(tmp_path)) == 1

    def test_mask_is_billed_once_to_each_client(self, tmp_path: Path) -> None:
        options = ("algorithm.name=randommask", "sparsity.allocation=uniform", "training.rounds=8")
        experiment = prepared(*TIERS, *options)
        drive(experiment, tmp_path)
        without, held = 12 + 16 + 8 + 4 * (128 + 10), set[int]()
        mask_bytes = server_mask_bytes(experiment)
        for event in sorted(events(tmp_path), key=lambda e: e["start_s"]):
            k = event["client_id"]
            assert event["download_bytes"] == without + (0 if k in held else mask_bytes)
            held.add(k)
