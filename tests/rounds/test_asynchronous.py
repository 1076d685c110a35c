"""Asynchronous rounds: when clients train, how updates fold, and that only emulated time decides."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import RoundError
from orchestrator.execution.executor import Executor
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from orchestrator.rounds.sampler import CohortSampler
from tests.support.errors import rejects
from tests.support.fleets import with_profiles
from tests.support.runs import (
    REMEMBERING,
    Eager,
    Flaky,
    drive,
    fresh,
    prepared,
)
from tests.support.timing import (
    FEDASYNC,
    FEDBUFF,
    SMALL,
    TIERS,
    Shuffled,
    assert_same_run,
    brief,
    dense_flops,
    device,
    events,
    metrics,
    with_availability,
    with_durations,
)


class TestTime:
    """When clients train, and which updates belong to a round."""

    def test_three_clients_and_two_updates_to_a_round(self, tmp_path: Path) -> None:
        """Clients 0, 1 and 2 need 1, 2 and 4 s for a task, and train without pauses. Each step takes two updates.

        - 1 s and 2 s: client 0's first update and client 1's make step 0. At 2 s client 1 counts before client 0,
          because its task started first.
        - 2 s and 3 s: client 0's second update (one step stale) and its third make step 1.
        - 4 s: client 2's update (two steps stale) and client 1's second (one step stale) make step 2. Client 0's
          fourth update (one step stale) counts in round 3.
        """
        experiment = with_durations((1.0, 2.0, 4.0), *FEDBUFF)
        drive(experiment, tmp_path)
        assert [brief(e) for e in events(tmp_path)] == [
            (0, 0, 0.0, 1.0, 0),
            (0, 1, 0.0, 2.0, 0),
            (1, 0, 1.0, 2.0, 1),
            (1, 0, 2.0, 3.0, 0),
            (2, 2, 0.0, 4.0, 2),
            (2, 1, 2.0, 4.0, 1),
            (3, 0, 3.0, 4.0, 1),
            (3, 0, 4.0, 5.0, 0),
        ]
        rows = metrics(tmp_path)
        assert [row["time/emulated_s"] for row in rows] == [2.0, 1.0, 1.0, 1.0]
        assert [row["fleet/in_flight"] for row in rows] == [2, 2, 1, 2]
        assert [row["fleet/staleness_mean"] for row in rows] == [0.0, 0.5, 1.5, 0.5]
        assert [row["fleet/staleness_max"] for row in rows] == [0, 1, 2, 1]
        assert [row["fleet/participants"] for row in rows] == [2, 2, 2, 2]

    def test_fedasync_steps_after_each_update(self, tmp_path: Path) -> None:
        """Clients need 1 and 4 s. At 4 s both updates arrive; the slow client's task started first and counts first."""
        experiment = with_durations(
            (1.0, 4.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=6"
        )
        drive(experiment, tmp_path)
        assert [brief(e) for e in events(tmp_path)] == [
            (0, 0, 0.0, 1.0, 0),
            (1, 0, 1.0, 2.0, 0),
            (2, 0, 2.0, 3.0, 0),
            (3, 1, 0.0, 4.0, 3),
            (4, 0, 3.0, 4.0, 1),
            (5, 0, 4.0, 5.0, 0),
        ]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]

    @pytest.mark.parametrize(
        ("seconds", "at_work", "buffer_size"),
        [
            ((1.0, 2.0, 4.0, 8.0, 0.5), 3, 2),
            ((1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 4, 3),
            ((0.7, 1.3, 2.9, 0.1, 11.0), 5, 3),
            ((1.0, 2.0, 3.0, 4.0), 1, 2),
            ((3.0, 1.0, 2.0, 1.0), 2, 5),
        ],
    )
    def test_schedule_matches_a_slow_oracle(
        self, tmp_path: Path, seconds: tuple[float, ...], at_work: int, buffer_size: int
    ) -> None:
        experiment = with_durations(
            seconds,
            "asynchrony.kind=fedbuff",
            f"asynchrony.buffer_size={buffer_size}",
            f"training.clients_per_round={at_work}",
            "training.rounds=6",
        )
        drive(experiment, tmp_path)
        found = [brief(e) for e in events(tmp_path)]
        expected = _simulated(experiment, seconds, buffer_size, num_rounds=6)
        assert [(r, k, tau) for r, k, _, _, tau in found] == [(r, k, tau) for r, k, _, _, tau in expected]
        found_s, expected_s = (np.array([task[2:4] for task in tasks]) for tasks in (found, expected))
        np.testing.assert_allclose(found_s, expected_s, rtol=1e-12, atol=1e-12)

    def test_clients_per_round_train_at_any_time_and_none_twice(self, tmp_path: Path) -> None:
        experiment = prepared(*TIERS, "training.rounds=12", "training.clients_per_round=4")
        drive(experiment, tmp_path)
        mine = events(tmp_path)
        for moment in {e["start_s"] for e in mine}:
            at_work = [e["client_id"] for e in mine if e["start_s"] <= moment < e["at_s"]]
            assert len(at_work) == len(set(at_work)) <= 4
        assert [e["at_s"] for e in mine] == sorted(e["at_s"] for e in mine)
        assert {e["client_id"] for e in mine} == set(range(6))
        assert len(mine) == 2 * 12

    def test_round_duration_is_never_negative(self, tmp_path: Path) -> None:
        """Where two updates come at the same moment, and the sum of the rounds' seconds is a rounding beyond it.

        Three clients of equal parts take 0.3, 0.9 and 0.9 s; the first one is gone after its update.
        """
        equal = ("data.partition.kind=shards", "data.partition.shard_size=30", "training.rounds=3")
        experiment = with_durations((0.3, 0.9, 0.9), *FEDASYNC, *equal)
        first_s, second_s = (
            dense_flops(experiment, k) / experiment.setting.profiles[k].flops_per_s for k in (0, 1)
        )
        assert first_s + (second_s - first_s) > second_s, "or nothing is shown"
        drive(with_availability(experiment, [[(0.0, first_s)], [(0.0, 99.0)], [(0.0, 99.0)]]), tmp_path)
        assert [e["at_s"] for e in events(tmp_path)] == [first_s, second_s, second_s]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [first_s, second_s - first_s, 0.0]


def _simulated(
    experiment: Experiment, seconds: Sequence[float], buffer_size: int, num_rounds: int
) -> list[tuple[int, int, float, float, int]]:
    """Round, client, start, end and staleness of each update: one thing after the other, with all times known.

    A task is (end, number, client, start, round).
    """
    selector, tasks = CohortSampler(experiment), list[tuple[float, int, int, float, int]]()
    num_given, now, taken = 0, 0.0, []
    for round_idx in range(num_rounds):
        part = num_used = 0
        begins = True
        while num_used < buffer_size:
            free = experiment.config.training.clients_per_round - len(tasks)
            due = [task for task in tasks if task[0] <= now and not begins]
            if due:
                tasks.remove(end := min(due))
                taken.append((round_idx, end[2], end[3], end[0], round_idx - end[4]))
                num_used += 1
            elif free:
                busy = {task[2] for task in tasks}
                for k in selector.cohort(round_idx, busy=busy, count=free, part=part):
                    tasks.append((now + seconds[k], num_given, k, now, round_idx))
                    num_given, part = num_given + 1, part + 1
            elif not begins:
                now = min(task[0] for task in tasks)
            begins = False
    return taken


class TestOrder:
    """The result does not depend on when and where tasks run."""

    @pytest.mark.parametrize("method", ["algorithm.name=fedavg", REMEMBERING])
    def test_order_of_completion_does_not_matter(self, tmp_path: Path, method: str) -> None:
        experiment = prepared(*TIERS, method, "training.clients_per_round=4", "training.rounds=6")
        lazy = drive(experiment, tmp_path / "lazy")
        executors: dict[str, Executor] = {
            "eager": Eager(experiment),
            "1": Shuffled(experiment, 1),
            "2": Shuffled(experiment, 2),
        }
        for name, executor in executors.items():
            other = drive(experiment, tmp_path / name, executor=executor)
            assert other.params_sha256() == lazy.params_sha256()
            assert_same_run(tmp_path / name, tmp_path / "lazy")

    def test_lower_bound_avoids_waiting_for_slow_clients(self, tmp_path: Path) -> None:
        """None of the first four rounds waits for client 2's task of round 0, which needs 100 s."""
        experiment = with_durations((1.0, 2.0, 100.0), *FEDBUFF)
        executor = Flaky(experiment, {})
        drive(experiment, tmp_path, executor=executor)
        slow = CohortSampler(experiment).cohort(0).index(2)
        assert (0, slow) in executor.submitted
        assert (0, slow) not in executor.asked_for

    def test_without_bound_the_driver_waits_and_the_run_is_equal(self, tmp_path: Path) -> None:
        """`Misbehaving` is by default FedAvg without `steady_cost`."""
        steady = with_durations((1.0, 2.0, 100.0), *FEDBUFF)
        without = with_durations(
            (1.0, 2.0, 100.0), *FEDBUFF, "algorithm.name=tests.support.methods:Misbehaving"
        )
        assert not without.algorithm.has_steady_cost
        executor = Flaky(without, {})
        drive(without, tmp_path / "without", executor=executor)
        drive(steady, tmp_path / "steady")
        assert (0, CohortSampler(without).cohort(0).index(2)) in executor.asked_for
        assert_same_run(tmp_path / "without", tmp_path / "steady")

    @pytest.mark.parametrize(
        "name", [n for n in algorithm_names() if load_algorithm(n).capabilities.steady_cost]
    )
    @pytest.mark.parametrize("efficiency", [0.0, 0.5, 1.0])
    def test_methods_with_steady_cost_keep_their_bound(
        self, tmp_path: Path, name: str, efficiency: float
    ) -> None:
        """Transfers need no time, so a task with fewer FLOPs than its bound arrives too early and ends the run."""
        options = ("training.local_epochs=2", "training.batch_size=20", "training.rounds=6")
        experiment = with_durations(
            (1.0, 1.5, 2.5, 4.0),
            *FEDBUFF,
            f"algorithm.name={name}",
            *options,
            sparse_efficiency=efficiency,
        )
        assert experiment.algorithm.has_steady_cost
        drive(experiment, tmp_path)
        assert len(metrics(tmp_path)) == 6

    def test_wrong_steady_cost_ends_the_run(self, tmp_path: Path) -> None:
        experiment = with_durations(
            (1.0, 1.0, 1.0), *FEDBUFF, "algorithm.name=tests.support.one_batch:OneBatch"
        )
        with pytest.raises(RoundError, match=r"steady_cost.* client \d"):
            drive(experiment, tmp_path)

    def test_shrinking_mask_has_no_steady_cost(self, tmp_path: Path) -> None:
        """FedDST with `grow_over_all` grows weights that are active already; then fewer are left."""
        options = (
            "algorithm.name=feddst",
            "algorithm.grow_over_all=true",
            "algorithm.alpha=0.5",
            "algorithm.readjust_every=1",
            "algorithm.end_round=100",
            "algorithm.adjust_after_epoch=1",
            "sparsity.level=0.4",
            "training.local_epochs=4",
            "training.batch_size=10",
        )
        experiment = prepared(*FEDBUFF, *options)
        experiment = with_profiles(experiment, [device(str(k), 1.0, 1e9 * (k + 1)) for k in range(6)])
        drive(experiment, tmp_path)
        assert len(metrics(tmp_path)) == 4

    def test_moving_schedule_has_no_steady_cost(self) -> None:
        options = (
            "algorithm.name=feddst",
            "sparsity.schedule.kind=linear",
            "sparsity.schedule.final_level=0.9",
        )
        assert not prepared(*SMALL, *options).algorithm.has_steady_cost
        assert prepared(*SMALL, *options[:1]).algorithm.has_steady_cost


@pytest.mark.parametrize("method", ["ssfl", "prunefl"])
def test_methods_that_plan_their_own_rounds_are_rejected(method: str) -> None:
    with rejects("asynchrony.kind", "fedbuff"):
        fresh(f"algorithm.name={method}", *FEDBUFF)
