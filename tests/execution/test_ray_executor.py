"""The Ray executor with actors that finish, die, stop answering and hang, on a clock that the test controls."""

from typing import Any, Literal

import numpy as np
import pytest
from ray.exceptions import RaySystemError

from orchestrator.errors import ActorsLostError
from orchestrator.execution import ray_executor
from orchestrator.execution.executor import Message, TaskRequest
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_executor import ANSWER_S, RayExecutor
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientFailure
from tests.support.fake_ray import FakeActor, FakeRay
from tests.support.runs import prepared

NAMES = {"pooled": ("pool-0", "pool-1"), "dedicated": tuple(f"client-{k}" for k in range(6))}


class Stage:
    """An executor on a fake Ray, with its actors."""

    def __init__(self, fake: FakeRay, mode: Literal["pooled", "dedicated"], *overrides: str) -> None:
        self.ray = fake
        self.actors = [FakeActor(fake, name) for name in NAMES[mode]]
        shared: Any = "the experiment"
        self.executor = RayExecutor(
            prepared(*overrides),
            shared,
            Placement(mode, "as played", tuple((name, 0) for name in NAMES[mode])),
            self.actors,
            num_cores=3,
            clock=lambda: fake.now_s,
        )

    def submit(self, *client_ids: int, message: Message | None = None) -> tuple[Any, ...]:
        tasks = [
            ClientTask(round_idx=7, position=place, client_id=client_id)
            for place, client_id in enumerate(client_ids)
        ]
        sent = message or Message(np.zeros(3, np.uint8))
        return self.executor.submit(sent, [TaskRequest(task, None) for task in tasks])

    def result(self, handle: Any) -> object:
        return self.executor.result(handle)

    def failure(self, handle: Any) -> ClientFailure:
        outcome = self.executor.result(handle)
        assert isinstance(outcome, ClientFailure), outcome
        return outcome


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Replaces the library; the executor uses four of its functions."""
    played = FakeRay()
    monkeypatch.setattr(ray_executor, "ray", played)
    return played


class TestDispatch:
    """Which actor gets which task."""

    def test_pooled_actors_get_two_tasks_and_the_oldest_first(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        handles = stage.submit(0, 1, 2, 3, 4)
        assert (first.at_work, second.at_work) == ([0, 2], [1, 3])
        fake.at(5.0, second.finish)
        assert stage.result(handles[1]) == "client 1 by pool-1"
        assert (first.at_work, second.at_work) == ([0, 2], [3, 4])

    def test_request_for_busy_dedicated_actor_lets_later_requests_pass(self, fake: FakeRay) -> None:
        stage = Stage(fake, "dedicated")
        handles = stage.submit(4, 4, 2)
        assert [actor.at_work for actor in stage.actors] == [[], [], [2], [], [4], []]
        fake.at(1.0, stage.actors[4].finish)
        assert stage.result(handles[0]) == "client 4 by client-4"
        assert stage.actors[4].at_work == [4]

    def test_dedicated_actors_run_at_most_one_task_per_core(self, fake: FakeRay) -> None:
        stage = Stage(fake, "dedicated")
        stage.submit(5, 4, 3, 2)
        assert [actor.name for actor in stage.actors if actor.at_work] == ["client-3", "client-4", "client-5"]

    def test_each_handle_gives_its_result_once(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        handles = stage.submit(0, 1)
        for actor in stage.actors:
            fake.at(1.0, actor.finish)
        assert [stage.result(t) for t in reversed(handles)] == ["client 1 by pool-1", "client 0 by pool-0"]
        with pytest.raises(KeyError):
            stage.result(handles[0])

    def test_message_is_put_into_the_object_store_once(self, fake: FakeRay) -> None:
        stage, message = Stage(fake, "pooled"), Message(np.zeros(3, np.uint8))
        for _ in range(3):
            stage.submit(0, 1, message=message)
        assert fake.num_put == 1
        stage.submit(0)
        assert fake.num_put == 2


class TestLoss:
    """A lost actor fails only the task that it ran; its other tasks run elsewhere."""

    def test_dead_actor_fails_its_current_task_and_others_move(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        handles = stage.submit(0, 1, 2, 3)
        fake.at(1.0, first.die)
        failure = stage.failure(handles[0])
        assert (failure.client_id, failure.round_idx, failure.stage) == (0, 7, "actor")
        assert failure.cause.startswith("pool-0 died: ActorDiedError: ")
        for now_s in (2.0, 3.0, 4.0):
            fake.at(now_s, second.finish)
        assert [stage.result(t) for t in handles[1:]] == [f"client {k} by pool-1" for k in (1, 2, 3)]
        assert first.num_given == 2, "a lost actor got a task"

    def test_results_from_before_the_loss_count(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, _ = stage.actors
        handles = stage.submit(0, 1, 2)

        def finish_and_die() -> None:
            first.finish()
            first.die()

        fake.at(1.0, finish_and_die)
        assert stage.failure(handles[2]).cause.startswith("pool-0 died")
        assert stage.result(handles[0]) == "client 0 by pool-0"

    def test_restarted_actor_gets_tasks_after_it_answers(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        handles = stage.submit(0, 1, 2, 3, 4)
        fake.at(1.0, first.die)
        fake.at(2.0, first.come_back)
        fake.at(3.0, second.finish)
        stage.failure(handles[0])
        assert stage.result(handles[1]) == "client 1 by pool-1"
        assert (first.at_work, second.at_work) == ([2, 4], [3])

    def test_actor_that_died_idle_fails_no_task(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        first.vanish()
        handles = stage.submit(0, 1)
        fake.at(1.0, second.finish)
        fake.at(ANSWER_S + 1.0, second.finish)
        assert stage.result(handles[1]) == "client 1 by pool-1"
        assert stage.result(handles[0]) == "client 0 by pool-1"
        assert len(fake.cancelled) == 1

    def test_actor_that_answers_late_is_used_again_and_tasks_run_once(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        first.vanish()
        handles = stage.submit(0, 1, 2, 3)
        fake.at(ANSWER_S + 1.0, first.come_back)
        fake.at(ANSWER_S + 2.0, second.finish)
        assert stage.result(handles[1]) == "client 1 by pool-1"
        assert (first.at_work, second.at_work) == ([0, 2], [3])
        for actor in (first, second, first):
            fake.at(ANSWER_S + 3.0, actor.finish)
        assert [stage.result(handles[place]) for place in (0, 2, 3)] == [
            "client 0 by pool-0",
            "client 2 by pool-0",
            "client 3 by pool-1",
        ]
        assert first.num_given == 4

    def test_other_ray_error_fails_only_its_task(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, _ = stage.actors
        handles = stage.submit(0, 1, 2)
        fake.at(1.0, lambda: first.raise_out(RaySystemError("no room")))
        assert stage.failure(handles[0]).cause.startswith("RaySystemError: ")
        fake.at(2.0, first.finish)
        assert stage.result(handles[2]) == "client 2 by pool-0"


class TestHanging:
    """`runtime.task_timeout_s` counts from the start of a task until its result is ready."""

    LIMIT = "runtime.task_timeout_s=20"

    def test_timeout_kills_the_actor_and_fails_the_task(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        first, second = stage.actors
        handles = stage.submit(0, 1, 2)
        fake.at(1.0, second.finish)
        failure = stage.failure(handles[0])
        assert fake.now_s == 20.0
        assert (failure.stage, fake.killed) == ("timeout", ["pool-0"])
        assert "runtime.task_timeout_s=20" in failure.cause
        assert "pool-0" in failure.cause
        assert second.at_work == [2], "the waiting task did not move to the other actor"
        assert first.at_work == []

    def test_each_task_has_its_own_timeout(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        first, _ = stage.actors
        handles = stage.submit(0, 1, 2)
        fake.at(15.0, first.finish)
        fake.at(15.0, stage.actors[1].finish)
        fake.at(34.0, first.finish)
        assert stage.result(handles[2]) == "client 2 by pool-0"
        assert fake.killed == []

    def test_ready_result_is_not_late_when_collected_late(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        handles = stage.submit(0, 1)
        for actor in stage.actors:
            actor.finish()
        fake.now_s = 1000.0
        assert [stage.result(t) for t in handles] == ["client 0 by pool-0", "client 1 by pool-1"]
        assert fake.killed == []

    def test_without_timeout_the_executor_waits(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        (handle,) = stage.submit(0)
        fake.at(1e6, stage.actors[0].finish)
        assert stage.result(handle) == "client 0 by pool-0"


class TestRestartTimeout:
    """Actors that Ray does not restart within `runtime.restart_timeout_s`."""

    LIMIT = "runtime.restart_timeout_s=30"

    def test_loss_of_all_actors_raises_with_their_names(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        handles = stage.submit(0, 1, 2)
        for actor in stage.actors:
            fake.at(1.0, actor.die)
        stage.failure(handles[0])
        with pytest.raises(ActorsLostError, match="client 2, round 7") as caught:
            stage.result(handles[2])
        assert caught.value.actors == ("pool-0", "pool-1")
        assert fake.now_s == 31.0

    def test_executor_does_not_wait_for_actors_without_restart(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        handles = stage.submit(0, 1, 2)
        for actor in stage.actors:
            fake.at(1.0, actor.die)
            fake.at(2.0, actor.end)
        with pytest.raises(ActorsLostError):
            stage.result(handles[2])
        assert fake.now_s == 2.0

    def test_one_remaining_actor_runs_all_tasks(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", self.LIMIT)
        first, second = stage.actors
        handles = stage.submit(0, 1, 2)
        fake.at(1.0, first.die)
        for now_s in (100.0, 200.0):
            fake.at(now_s, second.finish)
        assert stage.result(handles[2]) == "client 2 by pool-1"

    def test_dedicated_client_cannot_use_another_actor(self, fake: FakeRay) -> None:
        stage = Stage(fake, "dedicated", self.LIMIT)
        handles = stage.submit(3, 3, 1)
        fake.at(1.0, stage.actors[3].die)
        fake.at(2.0, stage.actors[1].finish)
        assert stage.failure(handles[0]).client_id == 3
        with pytest.raises(ActorsLostError, match="client 3, round 7") as caught:
            stage.result(handles[1])
        assert caught.value.actors == ("client-3",)
        assert stage.result(handles[2]) == "client 1 by client-1"


class TestClose:
    """After `close` the actors are free for their next executor."""

    def test_close_waits_for_submitted_tasks_and_drops_the_backlog(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled")
        first, second = stage.actors
        stage.submit(0, 1, 2, 3, 4)
        for actor in (first, first, second, second):
            fake.at(3.0, actor.finish)
        stage.executor.close()
        assert (fake.now_s, fake.killed) == (3.0, [])
        assert first.num_given + second.num_given == 4

    def test_close_kills_an_actor_that_does_not_finish(self, fake: FakeRay) -> None:
        stage = Stage(fake, "pooled", "runtime.task_timeout_s=20")
        _, second = stage.actors
        stage.submit(0, 1)
        fake.at(1.0, second.finish)
        stage.executor.close()
        assert (fake.now_s, fake.killed) == (20.0, ["pool-0"])


class TestBundles:
    """Tasks that train together are one call to an actor, and share its fate."""

    def _stage(self, fake: FakeRay, *overrides: str) -> Stage:
        return Stage(fake, "pooled", "data.partition.kind=iid", "runtime.cohort=2", *overrides)

    def test_bundle_is_one_call_with_a_result_for_each_task(self, fake: FakeRay) -> None:
        stage = self._stage(fake)
        handles = stage.submit(0, 1, 2)
        first, second = stage.actors
        assert (first.num_given, second.num_given) == (1, 1)
        assert (first.at_work, second.at_work) == ([0], [2])
        for actor in stage.actors:
            fake.at(1.0, actor.finish)
        assert [stage.result(handle) for handle in reversed(handles)] == [
            "client 2 by pool-1",
            "client 1 by pool-0",
            "client 0 by pool-0",
        ]

    def test_lost_actor_loses_its_bundle_and_keeps_the_waiting_one(self, fake: FakeRay) -> None:
        stage = self._stage(fake)
        first, second = stage.actors
        handles = stage.submit(0, 1, 2, 3, 4, 5)
        assert (first.at_work, second.at_work) == ([0, 4], [2])
        fake.at(1.0, first.die)
        fake.at(2.0, second.finish)
        fake.at(3.0, second.finish)
        failures = [stage.failure(handle) for handle in handles[:2]]
        assert [failure.client_id for failure in failures] == [0, 1]
        assert {failure.stage for failure in failures} == {"actor"}
        assert all("pool-0 died" in failure.cause for failure in failures)
        assert [stage.result(handle) for handle in handles[2:]] == [
            f"client {client_id} by pool-1" for client_id in (2, 3, 4, 5)
        ]

    def test_time_limit_counts_for_each_task_of_a_bundle(self, fake: FakeRay) -> None:
        stage = self._stage(fake, "runtime.task_timeout_s=10")
        handles = stage.submit(0, 1)
        failures = [stage.failure(handle) for handle in handles]
        assert fake.now_s == 20.0
        assert fake.killed == ["pool-0"]
        assert {failure.stage for failure in failures} == {"timeout"}

    def test_dedicated_actors_get_single_tasks_and_a_note(self, fake: FakeRay) -> None:
        stage = Stage(fake, "dedicated", "data.partition.kind=iid", "runtime.cohort=2")
        stage.submit(0, 1)
        assert [actor.at_work for actor in stage.actors[:2]] == [[0], [1]]
        assert stage.executor.description.endswith(
            "clients train one by one, without runtime.cohort (each dedicated actor has one client; use "
            "runtime.actors=pooled)"
        )
