"""Send hostile updates to a driver: `python -m tests.fuzz.updates --updates 10000`.

The clients of short runs train honestly, but their updates are changed before the driver sees them: other payloads,
other counts, metrics and client states, answers to other tasks, no updates at all. Scores of evaluation tasks are
changed in the same way. Every registered method runs under both failure policies. With `retry`, the last try of each
task is honest. With `drop`, a task has one try, and some updates get other values of the valid form: no server can
reject these.

These results are findings:
- the driver ends with another error than a RoundError;
- an update or a score of another form is admitted;
- under `retry`, the run ends with other parameters than an honest run;
- the last checkpoint cannot be restored, or contains NaN or infinity in the state of the server or of a client.
"""

import json
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
from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, Outcome
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar, with_values
from orchestrator.sparsity.wire import decode, encode
from tests.fuzz.mutation import mutated
from tests.fuzz.tally import MIB, Tally, command
from tests.support.runs import REMEMBERING, committed, drive, prepared

MORE_BYTES = 1024 * MIB
_MAX_RETRIES = 12
_POLICIES = {
    "retry": ("runtime.failure_policy=retry", f"runtime.max_retries={_MAX_RETRIES}"),
    "drop": ("runtime.failure_policy=drop", "runtime.min_clients=1"),
}
#: methods and options that give clients states of further kinds
_VARIANTS = {
    "fedlps with bandits": ("algorithm.name=fedlps", "algorithm.ratio_policy=p_ucbv"),
    "fedspa with own masks": ("algorithm.name=fedspa", "algorithm.mask_seed=per_client"),
    "growing states": (REMEMBERING,),
}
_SHORT = ("training.rounds=2", "data.test_fraction=0.8", "data.validation_fraction=0.2")
_COUNTS: Sequence[object] = (0, -1, 1, 10**18, 2**63, 1.7e308, 0.5, float("nan"), None, "12", True)
_FLOPS: Sequence[object] = (-1.0, float("nan"), float("inf"), 1.7e308, 10**25, None, "12", True)
#: the ids of a task are integers of Python
_IDS: Sequence[object] = (-1, 77, None, 0.0, 1.0, True, np.int64(0), np.int64(1), np.array([1, 2]))
_SCORES: Sequence[object] = (
    None,
    [],
    {"personal/accuracy": None},
    {"personal/accuracy": float("nan")},
    {"personal/accuracy": 1.7e308},
    {"personal/accuracy": -0.1},
    {"personal/accuracy": "1"},
    {"personal/accuracy": np.float32(1.0)},
    {"unknown": 0.5},
    {1: 0.5},
)
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
_SECONDS: Sequence[object] = (
    None,
    [],
    {"train": None},
    {"train": -1.0},
    {"train": np.nan},
    {"train": np.inf},
    {"train": 1},
    {"further": 1.0},
    {1: 1.0},
)


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
        name = _chosen(self._rng, [*sorted(kinds), *states * 4])
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


Update = ClientUpdate[Any]
Change = Callable[[np.random.Generator, Any], Any]


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


def _renamed(item: Item, name: str) -> Item:
    return Masked(name, item.values, item.mask) if isinstance(item, Masked) else replace(item, name=name)


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
            return (with_values(item, values),)
        case Scalar():
            return (replace(item, value=float(value)),)
        case _:
            return (Scalar(item.name, float(value)),)


def _mutated_buffer(rng: np.random.Generator, update: Update) -> Update:
    """Changed bytes of a valid payload: garbage in most cases, sometimes a payload with other values."""
    data = mutated(rng, update.buffer.tobytes(), [update.buffer.tobytes()])
    return replace(update, buffer=np.frombuffer(data, np.uint8))


def _score(update: Update) -> ClientScore:
    return ClientScore(
        round_idx=update.round_idx, position=update.position, client_id=update.client_id, scores={}
    )


def _other_values(rng: np.random.Generator, item: Item) -> Payload:
    scale = np.float32(_chosen(rng, (0.0, -1.0, 1e-30, 100.0, 1e30)))
    match item:
        case Dense() | Masked():
            values = np.clip(item.values * np.float64(scale), -3e38, 3e38).astype(np.float32)
            return (with_values(item, values),)
        case Bits():
            return (replace(item, bits=rng.random(item.bits.size) < 0.5),)
        case _:
            return (replace(item, value=_chosen(rng, (0.0, -1.0, 0.5, 1e30))),)


def _other_state(rng: np.random.Generator, update: Update) -> Update:
    """Another client state: None, another class, or one leaf of another shape, dtype or type."""
    state = update.client_state
    leaves = dict(tree.flatten(state))
    other: object = _chosen(rng, ({"unknown": torch.zeros(2)}, [1], (), object(), torch.zeros(3)))
    if state is not None and rng.random() < 0.2:
        other = None
    elif state is not None and rng.random() < 0.9:
        path = _chosen(rng, sorted(leaves))
        changed = _chosen(rng, _wrong_leaves(leaves[path]))
        if isinstance(changed, list | dict | type(object())):
            return replace(update, client_state=changed if path == "" else other)
        other = changed if path == "" else tree.rebuild(state, leaves | {path: changed})
    return replace(update, client_state=other)


def _wrong_leaves(leaf: object) -> Sequence[object]:
    """Values that no client may return in place of a leaf."""
    match leaf:
        case Tensor():
            return (
                leaf.new_zeros((*leaf.shape, 2)),
                leaf.to(torch.complex64),
                leaf.to_sparse(),
                torch.zeros(()).expand(10**13),
                torch.full_like(leaf, torch.nan, dtype=torch.float32),
                None,
                3,
                "text",
            )
        case bool():
            return (None, 0, "text", torch.zeros(2))
        case int():
            return (None, True, 10**4400, -(2**70), float("nan"), "text", torch.zeros(2))
        case float():
            return (None, True, 10**4400, float("nan"), float("inf"), "text", torch.zeros(2))
        case _:
            return ("x" * 10**8, float("nan"), 10**4400)


def _other_numbers(rng: np.random.Generator, update: Update) -> Update:
    """A client state of the valid form with other numbers: extreme, but finite."""
    leaves = dict(tree.flatten(update.client_state))
    if not leaves:
        return update
    path = _chosen(rng, sorted(leaves))
    leaf, other = leaves[path], leaves[path]
    match leaf:
        case Tensor() if leaf.dtype == torch.bool:
            other = torch.from_numpy(
                np.asarray(rng.random(tuple(leaf.shape)) < _chosen(rng, (0.0, 0.5, 1.0)))
            )
        case Tensor() if leaf.is_floating_point():
            other = torch.full_like(leaf, _chosen(rng, (0.0, -1.0, 3e38, -3e38)))
        case bool():
            other = not leaf
        case int():
            other = _chosen(rng, (0, -1, 2**62, -(2**63)))
        case float():
            other = _chosen(rng, (0.0, -1.0, 1.7e308, -1.7e308))
    state = other if path == "" else tree.rebuild(update.client_state, leaves | {path: other})
    return replace(update, client_state=state)


KINDS: Mapping[str, Change] = {
    "no bytes": _with_buffer(lambda rng, data: b""),
    "random bytes": _with_buffer(lambda rng, data: rng.bytes(len(data) or 8)),
    "cut": _with_buffer(lambda rng, data: data[: int(rng.integers(len(data)))] if data else b"x"),
    "longer": _with_buffer(lambda rng, data: data + rng.bytes(1 + int(rng.integers(9)))),
    "scalar model": _with_payload(lambda rng: (Scalar(MODEL_ITEM, 1.0),)),
    "small model": _with_payload(lambda rng: (Dense(MODEL_ITEM, np.zeros(3, np.float32)),)),
    "further item": _with_item(lambda rng, item: (item, Scalar("further", 1.0))),
    "other name": _with_item(lambda rng, item: (_renamed(item, "other"),)),
    "other size": _with_item(_resized),
    "not finite": _with_item(_not_finite),
    "num_examples": _with_field("num_examples", _COUNTS),
    "train_flops": _with_field("train_flops", _FLOPS),
    "train_flops_dense": _with_field("train_flops_dense", _FLOPS),
    "unmasked_flops": _with_field("unmasked_flops", _FLOPS),
    "metrics": _with_field("metrics", _METRICS),
    "seconds": _with_field("seconds", _SECONDS),
    "round_idx": _with_field("round_idx", _IDS),
    "client_id": _with_field("client_id", _IDS),
    "position": _with_field("position", _IDS),
    "buffer": _with_field("buffer", (None, b"", "text", np.zeros(4), np.zeros((2, 2), np.uint8))),
    "client state": _other_state,
    "another answer": lambda rng, update: _chosen(rng, (None, "text", _score(update))),
}

#: changes that keep the valid form; the server may admit them
PLAUSIBLE_KINDS: Mapping[str, Change] = {
    "other values": _with_item(_other_values),
    "changed bytes": _mutated_buffer,
    "other numbers of the client state": _other_numbers,
    "FLOPs": _with_field("train_flops", (0, 2**60, 10**20, 1e23)),
    "metric values": _with_field("metrics", ({}, *({"loss": x} for x in (np.nan, np.inf, 1.7e308, -1.0)))),
}

SCORE_KINDS: Mapping[str, Change] = {
    "scores": _with_field("scores", _SCORES),
    "seconds of scores": _with_field("seconds", _SECONDS),
    "round_idx of scores": _with_field("round_idx", _IDS),
    "client_id of scores": _with_field("client_id", _IDS),
    "another answer with scores": lambda rng, score: _chosen(rng, (None, "text")),
}


if __name__ == "__main__":
    sys.exit(command("updates", "--updates", 10_000, fuzz, MORE_BYTES))
