"""Adds one slice of the coordinates of every update. Plain Python; `shard_actor` puts it on Ray.

Each coordinate is summed in the same order and with the same operations for every number of slices, so that the bits of
an average do not depend on this number.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.aggregation.payload_check import decode_update, rejected_payload
from orchestrator.aggregation.phase_aggregator import phase_aggregator
from orchestrator.aggregation.received_update import DecodedUpdate
from orchestrator.aggregation.slices import SliceAverage, SliceNumber, cut_item, cut_model, layout_slice
from orchestrator.aggregation.sums import LocalSums, Term
from orchestrator.execution.client import MessageDecoder
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import Algorithm
from orchestrator.federation.exchange import (
    MODEL_ITEM,
    ModelValues,
    known_masks,
    unpack_model,
    without_model,
)
from orchestrator.federation.update import PayloadReport, RejectedPayload
from orchestrator.sparsity.payload import Bool
from orchestrator.sparsity.slicing.payload_slices import VectorSlice, decode_slice
from orchestrator.sparsity.wire import decode


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncodedUpdate:
    """An encoded payload, uint8[n], with the broadcast (uint8[m]) and the request that it answers."""

    broadcast: NDArray[np.uint8]
    request: TaskRequest
    payload: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FoldKey:
    """Names the sums of a phase: its round, its number within the run of the driver, and which try this is, from 0."""

    round_idx: int
    number: int
    attempt: int


@dataclass(frozen=True, slots=True, eq=False)
class _ReceivedSlice:
    """The model that a client received, the masks that the client knows by it, and the model's slice."""

    received: ModelValues | None
    known: dict[str, Bool]
    own: ModelValues | None


@final
class Shard:
    """Owns one slice of the flat vector, and of every other item that updates have.

    `check` decodes a whole payload; a payload must pass the check of any shard before `add` decodes its slice.
    """

    def __init__(self, experiment: Experiment, own: SliceNumber) -> None:
        self._experiment, self._algorithm, self._own = experiment, experiment.algorithm, own
        layout = experiment.setting.layout
        self._start, self._stop = own.bounds(layout.size)
        self._layout, self._slice = layout_slice(layout, self._start, self._stop)
        self._messages = MessageDecoder(experiment.algorithm)
        self._has_usual_model = type(experiment.algorithm).unpack is Algorithm.unpack
        self._received: _ReceivedSlice | None = None
        self._key: FoldKey | None = None
        self._num_added = 0

    def check(self, encoded: EncodedUpdate) -> PayloadReport | RejectedPayload:
        """Check a payload as the driver checks the payloads that it decodes."""
        try:
            received = self._decode_message(encoded)
            content = decode_update(self._experiment, encoded.request, encoded.payload, received)
        except Exception as error:  # a method's `unpack` gets whatever a client sends
            return rejected_payload(error)
        return PayloadReport(upload_bytes=encoded.payload.nbytes, has_model=content.model is not None)

    def add(
        self,
        key: FoldKey,
        place: int,
        encoded: EncodedUpdate,
        term: Term,
        present: NDArray[np.float32] | None,
    ) -> None:
        """Add the slice of the update at this place of the order, from 0. A new key starts new sums.

        An update out of order is left out, because this process has lost updates before it; `finish` then says so.
        `present` is the server's float32[D] model (see `Sums.add`).
        """
        if place == 0 and key != self._key:
            aggregator = phase_aggregator(self._experiment, encoded.request.task.kind)
            self._sums = LocalSums(aggregator, self._experiment.config.asynchrony)
            self._key, self._num_added = key, 0
        if key != self._key or place != self._num_added:
            return
        server = None if present is None else torch.from_numpy(np.array(present[self._start : self._stop]))
        self._sums.add(self._decode_slice(encoded), term, server)
        self._num_added += 1

    def finish(self, key: FoldKey, num_updates: int, server: NDArray[np.float32]) -> SliceAverage | None:
        """Return the average of the slice; None if this process has not added all updates.

        `server` is the slice of the server's model, float32[n]. Raises ValueError without an update of positive weight.
        """
        if key != self._key or self._num_added != num_updates:
            return None
        average = SliceAverage.of(self._sums.finish(torch.from_numpy(np.array(server))))
        self._key = None
        del self._sums
        return average

    def _decode_message(self, encoded: EncodedUpdate) -> ModelValues | None:
        request = encoded.request
        _, received = self._messages.decode(
            request.task, encoded.broadcast, request.unicast, request.client_state
        )
        return received

    def _decode_slice(self, encoded: EncodedUpdate) -> DecodedUpdate:
        """The slice of a payload. A method with an `unpack` of its own needs the whole payload first."""
        own = self._received_slice(encoded)
        if self._has_usual_model:
            payload = decode_slice(encoded.payload, own.known, self._slice_of)
            model = unpack_model(self._layout, payload)
            return DecodedUpdate(received=own.own, model=model, items=without_model(payload))
        payload = decode(encoded.payload, known_masks=own.known)
        whole = self._algorithm.unpack(payload, encoded.request.task, encoded.request.client_state)
        return DecodedUpdate(
            received=own.own,
            model=cut_model(whole, self._start, self._stop),
            items=tuple(cut_item(item, self._own) for item in without_model(payload)),
        )

    def _received_slice(self, encoded: EncodedUpdate) -> _ReceivedSlice:
        received = self._decode_message(encoded)
        if self._received is None or self._received.received is not received:
            mask = None if received is None else received.mask
            known = known_masks(self._experiment.setting.layout, mask)
            self._received = _ReceivedSlice(received, known, cut_model(received, self._start, self._stop))
        return self._received

    def _slice_of(self, name: str, size: int) -> VectorSlice:
        return self._slice if name == MODEL_ITEM else VectorSlice.of(*self._own.bounds(size))
