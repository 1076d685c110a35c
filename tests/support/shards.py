"""Shards in this process, and encoded updates for them: those of a recorded round, and random payloads."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.aggregation.received_update import Content
from orchestrator.aggregation.shard import EncodedUpdate, FoldKey, Shard
from orchestrator.aggregation.slices import SliceAverage, SliceNumber, join_averages
from orchestrator.aggregation.sums import Term
from orchestrator.contract.rounds import RecordedRound
from orchestrator.execution.executor import Executor, Message, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregate, AggregationName
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, known_masks, pack_model
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate, Outcome, StoredUpdate
from orchestrator.sparsity.payload import Bits, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.wire import encode
from orchestrator.sparsity.wire_frame import ValueDtype, WireVersion

_ITEMS = {
    MODEL_ITEM: ItemForm(kinds=(Dense, Masked)),
    "scores": ItemForm(kinds=(Dense,), size=101),
    "squares": ItemForm(kinds=(Masked,), size=500),
    "votes": ItemForm(kinds=(Bits,), size=77),
    "rare votes": ItemForm(kinds=(Bits,), size=905),
    "loss": ItemForm(kinds=(Scalar,)),
}


class LocalShards:
    """Aggregators of this process; `store` is what RayAggregators do with an update that arrives."""

    def __init__(self, made: Experiment, count: int) -> None:
        self.owned = [SliceNumber(number, count) for number in range(count)]
        self.shards = [Shard(made, own) for own in self.owned]
        self.size = made.setting.layout.size
        self._num_stored = self._num_folds = 0

    def store(self, encoded: EncodedUpdate, update: ClientUpdate[Any]) -> StoredUpdate[Any]:
        """Let one shard check the payload, and remove the payload from the update."""
        shard = self.shards[self._num_stored % len(self.shards)]
        self._num_stored += 1
        report = cache(partial(shard.check, encoded))
        return StoredUpdate(
            update=replace(update, buffer=np.empty(0, np.uint8)), encoded=encoded, report=report
        )

    def sums(self, round_idx: int) -> "LocalShardSums":
        """See Aggregators."""
        self._num_folds += 1
        return LocalShardSums(self, FoldKey(round_idx, self._num_folds, 0))


class LocalShardSums:
    """See Sums."""

    def __init__(self, shards: LocalShards, key: FoldKey) -> None:
        self._shards, self._key, self._num_added = shards, key, 0

    def add(self, content: Content, term: Term, present: torch.Tensor | None) -> None:
        """See Sums."""
        assert isinstance(content, StoredUpdate)
        model = None if present is None else present.numpy()
        for shard in self._shards.shards:
            shard.add(self._key, self._num_added, content.encoded, term, model)
        self._num_added += 1

    def finish(self, server: torch.Tensor) -> Aggregate:
        """See Sums."""
        return join_averages(
            [partial(self._finish, number, server) for number in range(len(self._shards.shards))],
            self._shards.size,
        )

    def losses(self) -> Sequence[str]:
        """See Sums: nothing dies here."""
        return ()

    def _finish(self, number: int, server: torch.Tensor) -> SliceAverage:
        part = slice(*self._shards.owned[number].bounds(self._shards.size))
        average = self._shards.shards[number].finish(self._key, self._num_added, server.numpy()[part])
        assert average is not None
        return average


class StoringExecutor:
    """Passes updates of training and probe tasks to shards, as the Ray executor does."""

    description = "with shards"

    def __init__(self, inner: Executor, shards: LocalShards) -> None:
        self._inner, self._shards, self.num_workers = inner, shards, inner.num_workers
        self._requests: dict[TaskHandle, tuple[Message, TaskRequest]] = {}

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        handles = self._inner.submit(message, requests)
        self._requests |= {
            handle: (message, request) for handle, request in zip(handles, requests, strict=True)
        }
        return handles

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        outcome = self._inner.result(handle)
        message, request = self._requests.pop(handle)
        if not isinstance(outcome, ClientUpdate) or request.task.kind not in ("train", "probe"):
            return outcome
        encoded = EncodedUpdate(broadcast=message.buffer, request=request, payload=outcome.buffer)
        return self._shards.store(encoded, outcome)

    def close(self) -> None:
        """See Executor."""
        self._inner.close()


class _Averaging(Algorithm[ServerState, None]):
    """A method with this average, items of every kind, and masks of the clients' own."""

    def upload_items(self, task: ClientTask) -> dict[str, ItemForm]:
        return _ITEMS


_METHODS = {
    name: type(
        f"Averaging{name.title()}",
        (_Averaging,),
        {"capabilities": Capabilities(aggregation=name, default_density=1.0, upload_mask="own")},
    )
    for name in ("wmean", "covmean", "dmean", "ipart")
}


def averaging(made: Experiment, average: AggregationName) -> Experiment:
    """The experiment with a method that takes this average of updates with many items."""
    setting = replace(
        made.setting, sparsity=made.setting.sparsity.model_copy(update={"level": 0.0, "allocation": None})
    )
    return replace(made, algorithm=_METHODS[average](made.algorithm.config, setting))


def encoded_updates(recorded: RecordedRound) -> list[EncodedUpdate]:
    """The updates of a phase with what shards need to decode them."""
    return [
        EncodedUpdate(broadcast=recorded.broadcast.message.buffer, request=job, payload=update.buffer)
        for job, update in zip(recorded.jobs, recorded.updates, strict=True)
    ]


def random_payload(
    made: Experiment,
    received: ModelValues | None,
    rng: np.random.Generator,
    place: int,
    value_dtype: ValueDtype,
    version: WireVersion,
) -> NDArray[np.uint8]:
    """Update `place` of a client: the form of its model depends on the place and on chance."""
    layout = made.setting.layout
    values = torch.from_numpy(rng.standard_normal(layout.size).astype(np.float32))
    known = known_masks(layout, None if received is None else received.mask)
    mask = _random_mask(made, received, rng, place)
    squares = rng.random(500) < 0.1
    payload: Payload = (
        Dense("scores", _floats(rng, 101)),
        pack_model(layout, values if mask is None else values * mask, mask),
        Masked("squares", _floats(rng, int(squares.sum())), squares),
        Bits("votes", rng.random(77) < 0.5),
        Bits("rare votes", rng.random(905) < 0.03),
        Scalar("loss", float(rng.random())),
    )
    data = encode(payload, known_masks=known, value_dtype=value_dtype, version=version, rng=rng)
    return np.frombuffer(data, np.uint8)


def _random_mask(
    made: Experiment, received: ModelValues | None, rng: np.random.Generator, place: int
) -> torch.Tensor | None:
    """No mask, the received mask, a mask that differs little from it, or a random mask."""
    layout = made.setting.layout
    kind = (place + int(rng.integers(5))) % 5
    if kind == 0:
        return None
    if kind in (1, 2) and received is not None and received.mask is not None:
        bits = layout.restrict(received.mask).numpy().copy()
        if kind == 2:
            moved = rng.choice(bits.size, 20, replace=False)
            bits[moved] = ~bits[moved]
        return layout.expand(torch.from_numpy(bits))
    density = (0.5, 0.05, 0.95)[int(rng.integers(3))]
    return layout.expand(torch.from_numpy(rng.random(layout.num_maskable) < density))


def _floats(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    return rng.standard_normal(count).astype(np.float32)
