"""Rounds that wait for nobody: who is at work when, what is folded how, and that nothing but emulated time counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms import algorithm_names, load_algorithm
from orchestrator.errors import ConfigError, RoundError
from orchestrator.federation.algorithm import ServerState
from orchestrator.runtime.executor import Executor
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.selector import LOOK_S, Selector
from tests.runtime.fleets import with_profiles
from tests.runtime.runs import REMEMBERING, Eager, Flaky, committed, drive, fresh, new_driver, prepared
from tests.runtime.timing import (
    SMALL,
    Shuffled,
    assert_same_run,
    dense_flops,
    device,
    events,
    metrics,
    models_of,
    taking,
    there_in,
    trained,
    trained_from,
)

FEDBUFF = ("asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")
FEDASYNC = ("asynchrony.kind=fedasync",)
#: six clients of five speeds, three at work, two to a round
TIERS = (*SMALL, *FEDBUFF, "fleet.name=five-tier")


def brief(event: dict[str, Any]) -> tuple[int, int, float, float, int]:
    """(round, client, start, end, staleness)."""
    return (event["round_idx"], event["client_id"], event["start_s"], event["at_s"], event["staleness"])


class TestTime:
    """When clients are at work, and which updates make a round."""

    def test_three_clients_and_two_updates_to_a_round(self, tmp_path: Path) -> None:
        """Clients 0, 1 and 2 take 1, 2 and 4 s, and all are always at work.

        At 2 s client 1, which began at 0 s, comes before client 0, which began again at 1 s: two updates, a step.
        Client 0's is of round 1 then, with one step of staleness, and so is its next one at 3 s. At 4 s come, in
        the order in which they began: client 2 (from 0 s, two steps ago), client 1 (from 2 s, one step ago): a step;
        and client 0 (from 3 s, one step ago).
        """
        experiment = taking((1.0, 2.0, 4.0), *FEDBUFF)
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

    def test_a_step_at_each_update(self, tmp_path: Path) -> None:
        """FedAsync, with clients that take 1 and 4 s. At 4 s the slow one, which began first, comes first."""
        experiment = taking((1.0, 4.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=6")
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
    def test_a_slow_oracle(
        self, tmp_path: Path, seconds: tuple[float, ...], at_work: int, buffer_size: int
    ) -> None:
        experiment = taking(
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

    def test_so_many_are_at_work_at_any_time_and_nobody_twice(self, tmp_path: Path) -> None:
        experiment = prepared(*TIERS, "training.rounds=12", "training.clients_per_round=4")
        drive(experiment, tmp_path)
        mine = events(tmp_path)
        for moment in {e["start_s"] for e in mine}:
            at_work = [e["client_id"] for e in mine if e["start_s"] <= moment < e["at_s"]]
            assert len(at_work) == len(set(at_work)) <= 4
        assert [e["at_s"] for e in mine] == sorted(e["at_s"] for e in mine)
        assert {e["client_id"] for e in mine} == set(range(6))
        assert len(mine) == 2 * 12

    def test_no_round_takes_less_than_no_time(self, tmp_path: Path) -> None:
        """Where two updates come at the same moment, and the sum of the rounds' seconds is a rounding beyond it.

        Three clients of equal parts take 0.3, 0.9 and 0.9 s; the first one is gone after its update.
        """
        equal = ("data.partition.kind=shards", "data.partition.shard_size=30", "training.rounds=3")
        experiment = taking((0.3, 0.9, 0.9), *FEDASYNC, *equal)
        first_s, second_s = (
            dense_flops(experiment, k) / experiment.setting.profiles[k].flops_per_s for k in (0, 1)
        )
        assert first_s + (second_s - first_s) > second_s, "or nothing is shown"
        drive(there_in(experiment, [[(0.0, first_s)], [(0.0, 99.0)], [(0.0, 99.0)]]), tmp_path)
        assert [e["at_s"] for e in events(tmp_path)] == [first_s, second_s, second_s]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [first_s, second_s - first_s, 0.0]


def _simulated(
    experiment: Experiment, seconds: Sequence[float], buffer_size: int, num_rounds: int
) -> list[tuple[int, int, float, float, int]]:
    """Round, client, start, end and staleness of each update: one thing after the other, with all times known.

    A task is (end, number, client, start, round).
    """
    selector, tasks = Selector(experiment), list[tuple[float, int, int, float, int]]()
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


class TestFedBuff:
    """The mean of the discounted changes of a buffer."""

    @staticmethod
    def _step(
        experiment: Experiment,
        models: Sequence[Tensor],
        mine: Sequence[dict[str, Any]],
        weights: Sequence[float],
    ) -> NDArray[np.float64]:
        """w + sum a s(tau) (w_k - w_k0) / sum a, with s = (1 + tau)^-1/2."""
        now: NDArray[np.float64] = models[mine[0]["round_idx"]].numpy().astype(float)
        total = np.zeros_like(now)
        for event, weight in zip(mine, weights, strict=True):
            version = event["round_idx"] - event["staleness"]
            change = trained_from(experiment, models[version], version, event["client_id"])
            change = change - models[version].numpy()
            total += weight * change / (1 + event["staleness"]) ** 0.5
        return now + total / sum(weights)

    @pytest.mark.parametrize("weight", ["uniform", "method"])
    def test_a_slow_oracle(self, tmp_path: Path, weight: str) -> None:
        experiment = taking((1.0, 2.0, 4.0), *FEDBUFF, f"asynchrony.weight={weight}")
        models = models_of(experiment, tmp_path)
        sizes = experiment.partition.train.sizes()
        for round_idx in range(4):
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            weights = [1.0 if weight == "uniform" else float(sizes[e["client_id"]]) for e in mine]
            expected = self._step(experiment, models, mine, weights)
            np.testing.assert_allclose(models[round_idx + 1].numpy(), expected, rtol=0, atol=2e-7)

    @pytest.mark.parametrize("method", ["fedavg", "fedavgm", "fedspa"])
    def test_equal_devices_and_a_buffer_of_all_make_it_synchronous(self, tmp_path: Path, method: str) -> None:
        """Bit for bit: 20 clients with 54 images each, of which five are at work and five make a round."""
        equal = (
            *SMALL,
            f"algorithm.name={method}",
            "data.partition.kind=shards",
            "data.partition.shard_size=30",
            "fleet.num_clients=20",
            "training.clients_per_round=5",
        )
        plain = prepared(*equal)
        assert set(plain.partition.train.sizes()) == {54}
        buffered = prepared(
            *equal, "asynchrony.kind=fedbuff", "asynchrony.buffer_size=5", "asynchrony.weight=method"
        )
        models = models_of(plain, tmp_path / "plain")
        found = models_of(buffered, tmp_path / "buffered")
        assert all(torch.equal(a, b) for a, b in zip(models, found, strict=True))
        assert [row["fleet/staleness_max"] for row in metrics(tmp_path / "buffered")] == [0] * 4
        pairs = zip(metrics(tmp_path / "plain"), metrics(tmp_path / "buffered"), strict=True)
        assert all(a["time/emulated_s"] == pytest.approx(b["time/emulated_s"], rel=1e-12) for a, b in pairs)

    def test_a_stale_sparse_update_counts_on_its_own_mask(self, tmp_path: Path) -> None:
        """FedDST's masks move; covmean divides each weight by those that hold it, and keeps those that nobody holds."""
        experiment = taking(
            (1.0, 2.0, 8.0),
            *FEDBUFF,
            "algorithm.name=feddst",
            "algorithm.readjust_every=1",
            "algorithm.end_round=100",
            "training.rounds=5",
        )
        states = [experiment.algorithm.init(torch.from_numpy(experiment.initial.copy()))]
        for _ in new_driver(experiment, tmp_path).run():
            states.append(committed(experiment, tmp_path).server_state)
        stale = [e for e in events(tmp_path) if e["staleness"] >= 2]
        assert stale, "or nothing is shown"
        for round_idx in {e["round_idx"] for e in stale}:
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            expected = _covmean_then_prune(experiment, states, mine)
            np.testing.assert_allclose(states[round_idx + 1].params.numpy(), expected, rtol=0, atol=2e-7)


def _covmean_then_prune(
    experiment: Experiment, states: Sequence[ServerState], mine: Sequence[dict[str, Any]]
) -> NDArray[np.float64]:
    """float64[D]: FedDST's server step, entry by entry."""
    round_idx = mine[0]["round_idx"]
    now = states[round_idx].params.numpy().astype(float)
    values, held = np.zeros_like(now), np.zeros_like(now)
    for event in mine:
        version, tau = round_idx - event["staleness"], event["staleness"]
        model = trained(experiment, states[version], version, event["client_id"])
        assert model.mask is not None
        mask, sent = model.mask.numpy(), model.values.numpy().astype(float)
        start = states[version].params.numpy()
        moved = sent if tau == 0 else now + (sent - start) / (1 + tau) ** 0.5
        values += np.where(mask, moved, 0.0)
        held += mask
    average = np.where(held > 0, values / np.maximum(held, 1), now)
    after = states[round_idx + 1].mask
    assert after is not None
    assert bool((held[after.numpy()] > 0).all()), "it keeps only what somebody holds"
    kept: NDArray[np.float64] = average * after.numpy()
    return kept


class TestFedAsync:
    """Each model is mixed in as it comes."""

    @pytest.mark.parametrize(
        ("options", "share"),
        [
            ((), lambda tau: 0.6 / (1 + tau) ** 0.5),
            (("asynchrony.staleness=constant", "asynchrony.mixing=0.9"), lambda tau: 0.9),
            (
                ("asynchrony.staleness=hinge", "asynchrony.hinge=2", "asynchrony.exponent=10"),
                lambda tau: 0.6 if tau <= 2 else 0.6 / (10 * (tau - 2) + 1),
            ),
        ],
    )
    def test_a_slow_oracle(self, tmp_path: Path, options: tuple[str, ...], share: Any) -> None:
        experiment = taking((1.0, 4.0, 5.0), *FEDASYNC, "training.rounds=9", *options)
        models = models_of(experiment, tmp_path)
        mine = events(tmp_path)
        assert [e["round_idx"] for e in mine] == list(range(9))
        assert max(e["staleness"] for e in mine) > 2
        for event in mine:
            round_idx, tau = event["round_idx"], event["staleness"]
            version = round_idx - tau
            theirs = trained_from(experiment, models[version], version, event["client_id"])
            now = models[round_idx].numpy().astype(float)
            expected = now + share(tau) * (theirs - now)
            np.testing.assert_allclose(models[round_idx + 1].numpy(), expected, rtol=0, atol=2e-7)

    def test_the_whole_of_each_model_is_the_last_one_s(self, tmp_path: Path) -> None:
        experiment = taking(
            (1.0, 1.5),
            *FEDASYNC,
            "training.clients_per_round=2",
            "asynchrony.mixing=1",
            "asynchrony.exponent=0",
        )
        models = models_of(experiment, tmp_path)
        for event in events(tmp_path):
            version = event["round_idx"] - event["staleness"]
            theirs = trained_from(experiment, models[version], version, event["client_id"])
            assert np.array_equal(models[event["round_idx"] + 1].numpy(), theirs)


class TestStaleness:
    """Updates that are too stale are left out."""

    def _drive(self, tmp_path: Path, *options: str) -> list[dict[str, Any]]:
        experiment = taking(
            (1.0, 8.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=9", REMEMBERING, *options
        )
        drive(experiment, tmp_path)
        self.states = committed(experiment, tmp_path).client_states
        return events(tmp_path)

    def test_they_cost_and_do_not_count(self, tmp_path: Path) -> None:
        """The slow client's update comes at 8 s, seven steps after it began."""
        mine = self._drive(tmp_path, "asynchrony.max_staleness=6", "sparsity.level=0")
        slow = [e for e in mine if e["client_id"] == 1]
        assert [(brief(e), e["outcome"]) for e in slow] == [((7, 1, 0.0, 8.0, 7), "stale")]
        assert slow[0]["upload_bytes"] > 0
        assert [row["fleet/stale"] for row in metrics(tmp_path)] == [0] * 7 + [1, 0]
        assert [row["fleet/participants"] for row in metrics(tmp_path)] == [1] * 9
        assert 1 not in self.states, "what it trained is lost to it too"
        assert self.states[0].num_tasks == 9

    def test_those_that_just_are_not_count(self, tmp_path: Path) -> None:
        mine = self._drive(tmp_path, "asynchrony.max_staleness=7", "sparsity.level=0")
        assert [e["outcome"] for e in mine if e["client_id"] == 1] == ["used"]
        assert self.states[1].num_tasks == 1


class TestOrder:
    """When and where trainings are done changes nothing."""

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

    def test_a_bound_lets_the_slow_train_in_peace(self, tmp_path: Path) -> None:
        """Client 2's task of round 0, which takes 100 s, is asked for by none of the first four rounds."""
        experiment = taking((1.0, 2.0, 100.0), *FEDBUFF)
        executor = Flaky(experiment, {})
        drive(experiment, tmp_path, executor=executor)
        slow = Selector(experiment).cohort(0).index(2)
        assert (0, slow) in executor.submitted
        assert (0, slow) not in executor.asked_for

    def test_without_a_bound_it_is_waited_for_and_the_run_is_the_same(self, tmp_path: Path) -> None:
        """`Misbehaving`, which behaves by default, is FedAvg without the promise."""
        steady = taking((1.0, 2.0, 100.0), *FEDBUFF)
        without = taking((1.0, 2.0, 100.0), *FEDBUFF, "algorithm.name=tests.runtime.methods:Misbehaving")
        assert not without.algorithm.has_steady_cost
        executor = Flaky(without, {})
        drive(without, tmp_path / "without", executor=executor)
        drive(steady, tmp_path / "steady")
        assert (0, Selector(without).cohort(0).index(2)) in executor.asked_for
        assert_same_run(tmp_path / "without", tmp_path / "steady")

    @pytest.mark.parametrize("name", [n for n in algorithm_names() if load_algorithm(n).steady_cost])
    def test_a_promise_of_steady_cost_is_kept(self, tmp_path: Path, name: str) -> None:
        """The line takes no time, so that a task which costs less than its bound ends the run."""
        options = ("training.local_epochs=2", "training.batch_size=20", "training.rounds=6")
        experiment = taking((1.0, 1.5, 2.5, 4.0), *FEDBUFF, f"algorithm.name={name}", *options)
        assert experiment.algorithm.has_steady_cost
        drive(experiment, tmp_path)
        assert len(metrics(tmp_path)) == 6

    def test_a_promise_that_is_not_kept_ends_the_run(self, tmp_path: Path) -> None:
        experiment = taking((1.0, 1.0, 1.0), *FEDBUFF, "algorithm.name=tests.runtime.methods:Hurried")
        with pytest.raises(
            RoundError, match=r"Hurried says `steady_cost`, but client \d took .* take that back"
        ):
            drive(experiment, tmp_path)

    def test_a_mask_that_may_shrink_in_training_promises_nothing(self, tmp_path: Path) -> None:
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

    def test_a_moving_schedule_promises_nothing(self) -> None:
        options = (
            "algorithm.name=feddst",
            "sparsity.schedule.kind=linear",
            "sparsity.schedule.final_level=0.9",
        )
        assert not prepared(*SMALL, *options).algorithm.has_steady_cost
        assert prepared(*SMALL, *options[:1]).algorithm.has_steady_cost


RESUMED = {
    "dense": ("algorithm.name=fedavg",),
    "momentum": ("algorithm.name=fedavgm", "wire.value_dtype=float16"),
    "client state": ("algorithm.name=fedspa",),
    "state everywhere": (REMEMBERING,),
    "moving mask": ("algorithm.name=feddst", "algorithm.readjust_every=1", "algorithm.end_round=100"),
    "messages to one client": ("algorithm.name=tests.runtime.methods:Tailored", "algorithm.renew_every=2"),
    "no model": ("algorithm.name=tests.runtime.methods:Voting",),
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
        experiment = taking(
            (1.0, 2.0, 4.0), *FEDBUFF, REMEMBERING, "training.rounds=5", "training.eval_every=1"
        )
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        drive(experiment, tmp_path / "stopped", stopped_after=num_rounds)
        assert num_rounds <= len(metrics(tmp_path / "stopped")) <= num_rounds + 1
        assert drive(experiment, tmp_path / "stopped").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "stopped", tmp_path / "undisturbed")

    def test_an_extended_run_is_the_longer_one(self, tmp_path: Path) -> None:
        """What was under way when the last round ended counts in those that follow."""
        short, longer = (
            taking((1.0, 2.0, 8.0), *FEDBUFF, REMEMBERING, f"training.rounds={n}", "training.eval_every=1")
            for n in (3, 7)
        )
        undisturbed = drive(longer, tmp_path / "longer")
        drive(short, tmp_path / "extended")
        assert metrics(tmp_path / "extended")[-1]["fleet/in_flight"] > 0
        assert drive(longer, tmp_path / "extended").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "extended", tmp_path / "longer")

    def test_old_server_states_stay_as_long_as_a_task_needs_them(self, tmp_path: Path) -> None:
        """Client 1's second task begins after round 5, at 6 s, and is there at 12 s, in round 12.

        After rounds 5 and 12 client 0 is under way with the model before that, since both come at the same moment.
        What the commit before the last one needs is kept too.
        """
        experiment = taking(
            (1.0, 6.0),
            *FEDASYNC,
            "training.clients_per_round=2",
            "training.rounds=15",
            "asynchrony.mixing=0.1",
        )
        kept = []
        for _ in new_driver(experiment, tmp_path).run():
            kept.append(sorted(int(path.stem[-6:]) for path in tmp_path.glob("commits/server-*")))
        slow = [(e["round_idx"], e["staleness"]) for e in events(tmp_path) if e["client_id"] == 1]
        assert slow == [(5, 5), (12, 6)]
        last_two = [[0], *([r - 1, r] for r in range(1, 6))]
        under_way = [[5, r - 1, r] for r in range(8, 12)]
        assert kept == [*last_two, [4, 5, 6], [5, 6, 7], *under_way, [5, 11, 12], [11, 12, 13], [12, 13, 14]]

    def test_a_run_that_is_done_trains_nothing_when_it_is_opened_again(self, tmp_path: Path) -> None:
        experiment = taking((1.0, 2.0, 4.0), *FEDBUFF)
        drive(experiment, tmp_path)
        executor = Flaky(experiment, {})
        drive(experiment, tmp_path, executor=executor)
        assert executor.submitted == []


class TestFailures:
    """Tasks that fail."""

    def test_retried_they_leave_no_trace_in_the_result(self, tmp_path: Path) -> None:
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

    def test_dropped_the_place_is_given_to_another(self, tmp_path: Path) -> None:
        """Three of six at work; whoever fails makes room at the least time at which it could have been there."""
        experiment = taking((2.0,) * 6, *FEDBUFF, "runtime.failure_policy=drop")
        first = Selector(experiment).cohort(0)
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 0): 1}))
        assert metrics(tmp_path)[0]["fleet/failures"] == 1
        assert [e["client_id"] for e in events(tmp_path)][:2] == list(first[1:])
        assert (tmp_path / "failures.jsonl").read_text().count(f'"client_id": {first[0]}') == 1
        assert all(row["fleet/participants"] == 2 for row in metrics(tmp_path))
        assert metrics(tmp_path)[0]["fleet/in_flight"] == 1
        began = next(e["start_s"] for e in events(tmp_path) if e["start_s"] > 0.0)
        assert began == pytest.approx(2.0, rel=1e-8)

    def test_when_all_fail_the_run_ends_and_says_why(self, tmp_path: Path) -> None:
        options = ("algorithm.name=tests.runtime.methods:Misbehaving", "runtime.failure_policy=drop")
        experiment = taking(
            (1.0,), *FEDBUFF, *options, "algorithm.client_id=0", "training.clients_per_round=1"
        )
        with pytest.raises(
            RoundError,
            match=r"^round 0: of 201 tasks only 0 gave an update that counts, 2 are needed; "
            r"client 0, round 0, train: ZeroDivisionError: in grad_hook",
        ):
            drive(experiment, tmp_path)


class TestAvailability:
    """Clients come and go."""

    def test_only_those_who_are_there_begin(self, tmp_path: Path) -> None:
        """Client 0 leaves for good at 2.5 s, in its third task; client 1 comes at 5 s; client 2 is there always."""
        experiment = there_in(
            taking((1.0, 1.0, 4.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=6"),
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
        # at 4 s client 2 alone is there and begins again; client 1 is seen when that comes, at 8 s
        assert found[4] == ((2, 4.0, 8.0), "used")
        assert found[5] == ((1, 8.0, 9.0), "used")
        assert events(tmp_path)[2]["upload_bytes"] == 0

    def test_where_nobody_is_at_work_the_clock_moves_on_by_looks(self, tmp_path: Path) -> None:
        experiment = there_in(
            taking((1.0, 1.0), *FEDASYNC, "training.clients_per_round=2", "training.rounds=3"),
            [[(0.0, 1.0), (100.0, 999.0)], []],
        )
        drive(experiment, tmp_path)
        assert [e["start_s"] for e in events(tmp_path)] == [0.0, 1.0 + 2 * LOOK_S, 2.0 + 2 * LOOK_S]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [1.0, 2 * LOOK_S + 1.0, 1.0]

    def test_it_ends_after_a_week(self, tmp_path: Path) -> None:
        experiment = there_in(
            taking((1.0,), *FEDASYNC, "training.clients_per_round=1", "training.rounds=3"), [[(0.0, 1.0)]]
        )
        with pytest.raises(
            RoundError, match=r"^round 1: no client was available for a week of emulated time$"
        ):
            drive(experiment, tmp_path)
        assert len(metrics(tmp_path)) == 1

    def test_a_mask_is_charged_to_those_who_lack_it(self, tmp_path: Path) -> None:
        options = ("algorithm.name=randommask", "sparsity.allocation=uniform", "training.rounds=8")
        experiment = prepared(*TIERS, *options)
        drive(experiment, tmp_path)
        without, held = 12 + 16 + 8 + 4 * (128 + 10), set[int]()
        for event in sorted(events(tmp_path), key=lambda e: e["start_s"]):
            k = event["client_id"]
            assert event["download_bytes"] == without + (0 if k in held else 80)
            held.add(k)


@pytest.mark.parametrize("method", ["ssfl", "prunefl"])
def test_methods_with_rounds_of_their_own_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"^asynchrony\.kind=fedbuff: {method} .*; use none$"):
        fresh(f"algorithm.name={method}", *FEDBUFF)


def test_a_method_without_a_model_in_its_updates(tmp_path: Path) -> None:
    """`Voting`: the discount is the weight. At 4 s client 2 is two steps old and client 1 one."""
    experiment = taking(
        (1.0, 2.0, 4.0), *FEDBUFF, "algorithm.name=tests.runtime.methods:Voting", "training.rounds=3"
    )
    drive(experiment, tmp_path)
    state = committed(experiment, tmp_path).server_state
    two, one = 3**-0.5, 2**-0.5
    assert float(state.ids) == pytest.approx((two * 2 + one * 1) / (two + one), rel=1e-12)
    assert np.array_equal(state.params.numpy(), experiment.initial)
