"""Send hostile updates to a driver: `python -m tests.fuzz.updates --updates 10000`.

The clients of short runs train honestly, but their updates are changed before the driver sees them: other payloads,
other counts, metrics and client states, answers to other tasks, no updates at all. Scores of evaluation tasks are
changed in the same way. Every registered method runs under both failure policies. With `retry`, the last try of each
task is honest. With `drop`, a task has one try, and some updates get other values of the valid form: no server can
reject these. In half of the runs, two shards check and add the updates.

These results are findings:
- the driver ends with another error than a RoundError;
- an update or a score of another form is admitted;
- under `retry`, the run ends with other parameters than an honest run;
- the last checkpoint cannot be restored, or contains NaN or infinity in the state of the server or of a client.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import RoundError
from orchestrator.execution.executor import InProcessExecutor, Message, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.methods import algorithm_names
from orchestrator.federation import tree
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome
from tests.fuzz.hostile_updates import KINDS, PLAUSIBLE_KINDS, SCORE_KINDS, Change, chosen
from tests.fuzz.tally import MIB, Tally, command
from tests.support.runs import REMEMBERING, committed, drive, prepared
from tests.support.shards import LocalShards, StoringExecutor

MORE_BYTES = 1024 * MIB
_MAX_RETRIES = 12
_POLICIES = {
    "retry": ("runtime.failure_policy=retry", f"runtime.max_retries={_MAX_RETRIES}"),
    "drop": ("runtime.failure_policy=drop", "runtime.min_clients=1"),
}
#: methods and options that give clients states of further kinds, or another wire format
_VARIANTS = {
    "fedlps with bandits": ("algorithm.name=fedlps", "algorithm.ratio_policy=p_ucbv"),
    "fedspa with own masks": ("algorithm.name=fedspa", "algorithm.mask_seed=per_client"),
    "growing states": (REMEMBERING,),
    "int8 values": ("algorithm.name=fedspa", "wire.value_dtype=int8"),
    "first wire format": ("algorithm.name=feddst", "wire.version=1", "wire.value_dtype=bfloat16"),
}
_SHORT = ("training.rounds=2", "data.test_fraction=0.8", "data.validation_fraction=0.2")


class HostileExecutor:
    """Runs tasks honestly and then changes their outcomes.

    `num_rejected` counts the changed outcomes that the server must reject. A retried task is not run again, because a
    retry gives the same update.
    """

    description = "hostile"
    num_workers = 1

    def __init__(self, experiment: Experiment, rng: np.random.Generator, policy: str, tally: Tally) -> None:
        self._rng, self._policy, self._tally = rng, policy, tally
        self._inner = InProcessExecutor(experiment)
        self._requests: dict[TaskHandle, TaskRequest] = {}
        self._handles: dict[TaskHandle, TaskHandle] = {}
        self._honest: dict[tuple[object, ...], Outcome[Any]] = {}
        self.num_rejected = 0

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        handles = []
        for request in requests:
            handle = TaskHandle(len(self._requests))
            self._requests[handle] = request
            if _key(request) not in self._honest:
                (self._handles[handle],) = self._inner.submit(message, [request])
            handles.append(handle)
        return tuple(handles)

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        request = self._requests[handle]
        if _key(request) not in self._honest:
            self._honest[_key(request)] = self._inner.result(self._handles[handle])
        outcome = self._honest[_key(request)]
        if isinstance(outcome, ClientFailure) or not self._is_hostile(request):
            return outcome
        kinds: Mapping[str, Change] = KINDS if isinstance(outcome, ClientUpdate) else SCORE_KINDS
        if self._policy == "drop" and isinstance(outcome, ClientUpdate) and self._rng.random() < 0.3:
            kinds = PLAUSIBLE_KINDS
        states = [
            name for name in kinds if name == "client state"
        ]  # states have more forms than other fields
        name = chosen(self._rng, [*sorted(kinds), *states * 4])
        hostile = kinds[name](self._rng, outcome)
        if _is_same(outcome, hostile):  # for example, an update without items that becomes empty
            return outcome
        self.num_rejected += kinds is not PLAUSIBLE_KINDS
        self._tally.outcomes[name] += 1
        return hostile  # type: ignore[no-any-return]

    def close(self) -> None:
        """See Executor."""
        self._inner.close()

    def _is_hostile(self, request: TaskRequest) -> bool:
        if request.task.kind not in ("train", "probe", "loss") and self._rng.random() < 0.8:
            return False  # most tasks of a short run are evaluations, and their answers have few fields
        if self._policy == "retry":
            return request.task.attempt < _MAX_RETRIES
        return request.task.kind in ("train", "evaluate") and self._rng.random() < 0.7


def _key(request: TaskRequest) -> tuple[object, ...]:
    """What distinguishes a task from all others of a run, except from its own retries."""
    task = request.task
    return task.round_idx, task.kind, task.position, task.client_id


def fuzz(seed: int, num_updates: int) -> Iterator[Tally]:
    """Send at least `num_updates` hostile updates; yield the tally after each run."""
    rng, tally, number = np.random.default_rng([seed, 4]), Tally(), 0
    names = [*sorted(algorithm_names()), *_VARIANTS]
    cases = [(name, policy) for name in names for policy in _POLICIES]
    start = int(rng.integers(len(cases)))  # a short search begins with other methods for each seed
    yield tally
    while tally.num_inputs < num_updates:
        name, policy = cases[(start + number) % len(cases)]
        number += 1
        has_shards = rng.random() < 0.5
        place = "shards" if has_shards else "the driver"
        what = f"seed {seed}, run {number}, {name}, {policy}, added by {place}"
        run(tally, name, policy, rng, what, has_shards=has_shards)
        yield tally


def run(
    tally: Tally, name: str, policy: str, rng: np.random.Generator, what: str, *, has_shards: bool
) -> None:
    """One run with hostile updates; findings go to the tally."""
    experiment = _experiment(name, policy)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        executor = HostileExecutor(experiment, rng, policy, tally)
        # as in a run, the driver adds the updates of a method with an average of its own
        is_usual = type(experiment.algorithm.aggregator()) in AGGREGATORS.values()
        shards = LocalShards(experiment, 2) if has_shards and is_usual else None
        used = executor if shards is None else StoringExecutor(executor, shards)
        try:
            driver = drive(experiment, path, executor=used, aggregators=shards)
        except (
            RoundError
        ):  # too few honest updates are left, or the values of a plausible update were too large
            return
        except Exception as error:
            tally.found(f"{type(error).__name__}: {error}: {what}")
            return
        _inspect(tally, experiment, path, executor.num_rejected, what)
        if policy == "retry" and driver.params_sha256() != _honest_digest(name):
            tally.found(f"other parameters: {what}")


def _inspect(tally: Tally, experiment: Experiment, path: Path, num_sent: int, what: str) -> None:
    failures = [json.loads(line) for line in (path / "failures.jsonl").read_text().splitlines()]
    num_rejected = sum(failure["stage"] == "admission" for failure in failures)
    if num_rejected < num_sent:  # a client may also reject what the server makes of plausible values
        tally.found(f"{num_sent} updates of another form, {num_rejected} of them rejected: {what}")
    try:
        restored = committed(experiment, path)
    except Exception as error:
        tally.found(f"not restored, {type(error).__name__}: {error}: {what}")
        return
    states = {"server": restored.server_state}
    states |= {f"client {k}": restored.client_states[k] for k in restored.client_states}
    for owner, state in states.items():
        for place, leaf in tree.flatten(state):
            if isinstance(leaf, Tensor) and not bool(torch.isfinite(leaf).all()):
                tally.found(f"{place} of the {owner} is not finite: {what}")


def _is_same(one: object, other: object) -> bool:
    if not isinstance(one, ClientUpdate) or not isinstance(other, ClientUpdate):
        return one is other
    if not isinstance(other.buffer, np.ndarray) or one.buffer.tobytes() != other.buffer.tobytes():
        return False
    names = [field.name for field in fields(one) if field.name != "buffer"]
    return one.buffer.dtype == other.buffer.dtype and all(
        getattr(one, name) is getattr(other, name) for name in names
    )


@cache
def _experiment(name: str, policy: str) -> Experiment:
    method = _VARIANTS.get(name, (f"algorithm.name={name}",))
    return prepared(*_SHORT, *_POLICIES[policy], *method)


@cache
def _honest_digest(name: str) -> str:
    with TemporaryDirectory() as folder:
        return drive(_experiment(name, "retry"), Path(folder) / "run").params_sha256()


if __name__ == "__main__":
    sys.exit(command("updates", "--updates", 10_000, fuzz, MORE_BYTES))
