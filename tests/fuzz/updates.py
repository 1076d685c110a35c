"""Send hostile updates to a driver: `python -m tests.fuzz.updates --updates 10000`.

The clients of short runs train honestly, but their updates are changed before the driver sees them: other payloads,
other counts, metrics and client states, answers to other tasks. Every registered method runs under both failure
policies. With `retry`, the last try of each task is honest; with `drop`, a task has one try.

These results are findings:
- the driver ends with another error than a RoundError;
- a hostile update is admitted;
- under `retry`, the run ends with other parameters than an honest run;
- the last checkpoint cannot be restored, or contains NaN or infinity.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
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
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.update import ClientUpdate, Outcome
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode, encode
from tests.fuzz.tally import MIB, Tally, command
from tests.support.runs import committed, drive, prepared

MORE_BYTES = 1024 * MIB
_MAX_RETRIES = 3
_POLICIES = {
    "retry": ("runtime.failure_policy=retry", f"runtime.max_retries={_MAX_RETRIES}"),
    "drop": ("runtime.failure_policy=drop", "runtime.min_clients=1"),
}
_SHORT = ("training.rounds=2", "data.test_fraction=0.8", "data.validation_fraction=0.2")
_COUNTS: Sequence[object] = (0, -1, 1, 10**18, 2**63, 1.7e308, 0.5, float("nan"), None, "12", True)
_FLOPS: Sequence[object] = (-1.0, float("nan"), float("inf"), 1.7e308, None, "12", True)
_METRICS: Sequence[object] = (
    None,
    [],
    {"loss": None},
    {"loss": np.float32(1.0)},
    {"loss": torch.tensor(1.0)},
    {1: 1.0},
    {"loss": 10**400},
    {f"m{i}": 0.0 for i in range(10_000)},
)


class HostileExecutor:
    """Runs tasks honestly and then changes their updates; `num_sent` counts the changed updates."""

    description = "hostile"
    num_workers = 1

    def __init__(self, experiment: Experiment, rng: np.random.Generator, policy: str, tally: Tally) -> None:
        self._experiment, self._rng, self._policy, self._tally = experiment, rng, policy, tally
        self._inner = InProcessExecutor(experiment)
        self._requests: dict[TaskHandle, TaskRequest] = {}
        self.num_sent = 0

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        handles = self._inner.submit(message, requests)
        self._requests |= dict(zip(handles, requests, strict=True))
        return handles

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        outcome, request = self._inner.result(handle), self._requests.pop(handle)
        if not isinstance(outcome, ClientUpdate) or not self._is_hostile(request):
            return outcome
        name = sorted(KINDS)[int(self._rng.integers(len(KINDS)))]
        hostile = KINDS[name](self._rng, outcome)
        if _is_same(outcome, hostile):  # for example, an update without items that becomes empty
            return outcome
        self.num_sent += 1
        self._tally.outcomes[name] += 1
        return hostile

    def close(self) -> None:
        """See Executor."""
        self._inner.close()

    def _is_hostile(self, request: TaskRequest) -> bool:
        if self._policy == "retry":
            return request.task.attempt < _MAX_RETRIES
        return request.task.kind == "train" and self._rng.random() < 0.5


def fuzz(seed: int, num_updates: int) -> Iterator[Tally]:
    """Send at least `num_updates` hostile updates; yield the tally after each run."""
    rng, tally, number = np.random.default_rng([seed, 4]), Tally(), 0
    cases = [(name, policy) for name in sorted(algorithm_names()) for policy in _POLICIES]
    yield tally
    while tally.num_inputs < num_updates:
        name, policy = cases[number % len(cases)]
        number += 1
        run(tally, name, policy, rng, f"seed {seed}, run {number}, {name}, {policy}")
        yield tally


def run(tally: Tally, name: str, policy: str, rng: np.random.Generator, what: str) -> None:
    """One run with hostile updates; findings go to the tally."""
    experiment = _experiment(name, policy)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        executor = HostileExecutor(experiment, rng, policy, tally)
        try:
            driver = drive(experiment, path, executor=executor)
        except RoundError:  # too few honest updates are left
            return
        except Exception as error:
            tally.found(f"{type(error).__name__}: {error}: {what}")
            return
        _inspect(tally, experiment, path, executor.num_sent, what)
        if policy == "retry" and driver.params_sha256() != _honest_digest(name):
            tally.found(f"other parameters: {what}")


def _inspect(tally: Tally, experiment: Experiment, path: Path, num_sent: int, what: str) -> None:
    num_failures = len((path / "failures.jsonl").read_text().splitlines())
    if num_failures != num_sent:
        tally.found(f"{num_sent} hostile updates, {num_failures} failures: {what}")
    try:
        restored = committed(experiment, path)
    except Exception as error:
        tally.found(f"not restored, {type(error).__name__}: {error}: {what}")
        return
    for place, leaf in tree.flatten(restored.server_state):
        if isinstance(leaf, Tensor) and not bool(torch.isfinite(leaf).all()):
            tally.found(f"{place} is not finite: {what}")


def _is_same(one: ClientUpdate[Any], other: ClientUpdate[Any]) -> bool:
    names = [field.name for field in fields(one) if field.name != "buffer"]
    return one.buffer.tobytes() == other.buffer.tobytes() and all(
        getattr(one, name) is getattr(other, name) for name in names
    )


@cache
def _experiment(name: str, policy: str) -> Experiment:
    return prepared(*_SHORT, *_POLICIES[policy], f"algorithm.name={name}")


@cache
def _honest_digest(name: str) -> str:
    with TemporaryDirectory() as folder:
        return drive(_experiment(name, "retry"), Path(folder) / "run").params_sha256()


Update = ClientUpdate[Any]
Change = Callable[[np.random.Generator, Update], Update]


def _chosen(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _with_field(name: str, values: Sequence[object]) -> Change:
    return lambda rng, update: replace(update, **{name: _chosen(rng, values)})


def _with_buffer(make: Callable[[np.random.Generator, bytes], bytes]) -> Change:
    def change(rng: np.random.Generator, update: Update) -> Update:
        return replace(update, buffer=np.frombuffer(make(rng, update.buffer.tobytes()), np.uint8))

    return change


def _with_payload(make: Callable[[np.random.Generator], Payload]) -> Change:
    def change(rng: np.random.Generator, update: Update) -> Update:
        return replace(update, buffer=np.frombuffer(encode(make(rng)), np.uint8))

    return change


def _with_item(make: Callable[[np.random.Generator, Item], Payload]) -> Change:
    """Replace one item of the payload. A payload with a shared mask cannot be decoded here and becomes empty."""

    def change(rng: np.random.Generator, update: Update) -> Update:
        try:
            payload = decode(update.buffer)
        except Exception:
            payload = ()
        if payload:
            place = int(rng.integers(len(payload)))
            payload = (*payload[:place], *make(rng, payload[place]), *payload[place + 1 :])
        return replace(update, buffer=np.frombuffer(encode(payload), np.uint8))

    return change


def _resized(rng: np.random.Generator, item: Item) -> Payload:
    more = bool(rng.integers(2))
    match item:
        case Dense():
            values = np.append(item.values, np.float32(0)) if more else item.values[:-1]
            return (replace(item, values=values),)
        case Bits():
            return (replace(item, bits=np.append(item.bits, True) if more else item.bits[:-1]),)
        case Masked():
            return (Dense(item.name, np.zeros(item.mask.size + 1, np.float32)),)
        case _:
            return (Bits(item.name, np.ones(3, np.bool_)),)


def _not_finite(rng: np.random.Generator, item: Item) -> Payload:
    value = np.float32(_chosen(rng, (np.nan, np.inf, -np.inf)))
    match item:
        case Dense() | Masked() if item.values.size:
            values = item.values.copy()
            values[int(rng.integers(values.size))] = value
            return (replace(item, values=values),)
        case Scalar():
            return (replace(item, value=float(value)),)
        case _:
            return (Scalar(item.name, float(value)),)


def _other_state(rng: np.random.Generator, update: Update) -> Update:
    """Another client state: None, another class, or one leaf of another shape, dtype or type."""
    state = update.client_state
    leaves = dict(tree.flatten(state))
    tensors = [path for path, leaf in leaves.items() if isinstance(leaf, Tensor)]
    other: object = {"unknown": torch.zeros(2)}
    if state is not None and rng.random() < 0.3:
        other = None
    elif tensors and rng.random() < 0.8:
        path = _chosen(rng, tensors)
        leaf = leaves[path]
        assert isinstance(leaf, Tensor)
        changed = _chosen(rng, (leaf.new_zeros(leaf.numel() + 1), leaf.to(torch.complex64), 3, None))
        other = changed if path == "" else tree.rebuild(state, leaves | {path: changed})
    return replace(update, client_state=other)


KINDS: Mapping[str, Change] = {
    "no bytes": _with_buffer(lambda rng, data: b""),
    "random bytes": _with_buffer(lambda rng, data: rng.bytes(len(data) or 8)),
    "cut": _with_buffer(lambda rng, data: data[: int(rng.integers(len(data)))] if data else b"x"),
    "longer": _with_buffer(lambda rng, data: data + rng.bytes(1 + int(rng.integers(9)))),
    "scalar model": _with_payload(lambda rng: (Scalar(MODEL_ITEM, 1.0),)),
    "small model": _with_payload(lambda rng: (Dense(MODEL_ITEM, np.zeros(3, np.float32)),)),
    "further item": _with_item(lambda rng, item: (item, Scalar("further", 1.0))),
    "other name": _with_item(lambda rng, item: (replace(item, name="other"),)),
    "other size": _with_item(_resized),
    "not finite": _with_item(_not_finite),
    "num_examples": _with_field("num_examples", _COUNTS),
    "train_flops": _with_field("train_flops", _FLOPS),
    "train_flops_dense": _with_field("train_flops_dense", _FLOPS),
    "unmasked_flops": _with_field("unmasked_flops", _FLOPS),
    "metrics": _with_field("metrics", _METRICS),
    "round_idx": _with_field("round_idx", (-1, 77, None)),
    "client_id": _with_field("client_id", (-1, 77, None)),
    "position": _with_field("position", (-1, 77, None)),
    "client state": _other_state,
}


if __name__ == "__main__":
    sys.exit(command("updates", "--updates", 10_000, fuzz, MORE_BYTES))
