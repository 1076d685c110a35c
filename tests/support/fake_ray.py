"""A fake of Ray for the executor, in one thread and with its own clock: tests decide when actors answer."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import Any

import ray
from ray.exceptions import ActorDiedError


class Ref:
    """A reference to a result that may not exist yet."""


class FakeRay:
    """`at` plans events. `wait` advances the clock to the next event; other events never happen."""

    exceptions, ObjectRef = ray.exceptions, ray.ObjectRef

    def __init__(self) -> None:
        self.now_s = 0.0
        self.results: dict[Ref, object] = {}
        self.killed: list[str] = []
        self.num_put = 0
        self.cancelled: list[Ref] = []
        self._plan: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def at(self, now_s: float, event: Callable[[], object]) -> None:
        """Plan an event for this time."""
        heapq.heappush(self._plan, (now_s, next(self._order), event))

    def put(self, value: object) -> Ref:
        self.num_put += 1
        self.results[ref := Ref()] = value
        return ref

    def wait(
        self, refs: Sequence[Ref], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Ref], list[Ref]]:
        until_s = inf if timeout is None else self.now_s + timeout
        while sum(ref in self.results for ref in refs) < num_returns:
            if not self._plan or self._plan[0][0] > until_s:
                assert until_s < inf, "wait never returns, because no event is planned"
                self.now_s = until_s
                break
            self.now_s, _, event = heapq.heappop(self._plan)
            event()
        ready = [ref for ref in refs if ref in self.results][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Ref) -> object:
        self.wait([ref])
        result = self.results[ref]
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, actor: "FakeActor", no_restart: bool = True) -> None:
        assert not no_restart, "Ray must restart a client actor that is killed because of its task"
        self.killed.append(actor.name)
        actor.die()

    def cancel(self, ref: Ref) -> None:
        self.cancelled.append(ref)


class FakeMethod:
    """A method of an actor, with Ray's way to call it."""

    def __init__(self, call: Callable[..., Ref]) -> None:
        self._call = call

    def options(self, **options: object) -> "FakeMethod":
        return self

    def remote(self, *arguments: Any) -> Ref:
        return self._call(*arguments)


class FakeActor:
    """`at_work` contains the client ids of the unfinished tasks, oldest first; a bundle counts as its first task."""

    def __init__(self, fake: FakeRay, name: str) -> None:
        self.name, self._ray = name, fake
        self.is_there, self.num_given = True, 0
        self._tasks: list[tuple[Ref, tuple[int, ...]]] = []
        self._asked: list[Ref] = []
        self.run, self.__ray_ready__ = FakeMethod(self._run), FakeMethod(self._answer)
        self.run_bundle = FakeMethod(self._run_bundle)

    @property
    def at_work(self) -> list[int]:
        return [client_ids[0] for _, client_ids in self._tasks]

    def finish(self) -> None:
        """Complete the oldest task."""
        ref, client_ids = self._tasks.pop(0)
        results = tuple(f"client {client_id} by {self.name}" for client_id in client_ids)
        self._ray.results[ref] = results if len(results) > 1 else results[0]

    def raise_out(self, error: Exception) -> None:
        """Let the oldest task fail with an error of Ray that is not about the actor."""
        self._ray.results[self._tasks.pop(0)[0]] = error

    def vanish(self) -> None:
        """Lose the actor without notice: its tasks neither complete nor fail."""
        self.is_there = False

    def die(self) -> None:
        """Lose the actor, and let its tasks fail."""
        self.vanish()
        for ref, _ in self._tasks:
            self._ray.results[ref] = ActorDiedError()
        self._tasks.clear()

    def come_back(self) -> None:
        """Let the actor answer again, restarted or reconnected; it does not start cancelled tasks."""
        self.is_there = True
        self._tasks = [task for task in self._tasks if task[0] not in self._ray.cancelled]
        for ref in self._asked:
            self._ray.results[ref] = True
        self._asked.clear()

    def end(self) -> None:
        """Let Ray give up the restart of the actor."""
        for ref in self._asked:
            self._ray.results[ref] = ActorDiedError()
        self._asked.clear()

    def _run(self, shared: object, task: Any, *arguments: object) -> Ref:
        return self._take((task.client_id,))

    def _run_bundle(self, shared: object, requests: Any, *arguments: object) -> Ref:
        return self._take(tuple(request.task.client_id for request in requests))

    def _take(self, client_ids: tuple[int, ...]) -> Ref:
        self.num_given += 1
        self._tasks.append((ref := Ref(), client_ids))
        return ref

    def _answer(self) -> Ref:
        ref = Ref()
        if self.is_there:
            self._ray.results[ref] = True
        else:
            self._asked.append(ref)
        return ref
