"""The message of one phase of a round, and the bytes that each client downloads."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.execution.executor import Message, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, find_model, known_masks
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.masks import mask_digest
from orchestrator.sparsity.payload import Bool, Dense, Masked, Payload
from orchestrator.sparsity.wire import decode, encode


@dataclass(frozen=True, eq=False, kw_only=True)
class Broadcast:
    """The message for all clients of a phase, encoded, and decoded again so that both ends compute with equal values.

    `message` contains the model's mask. A client that already has this mask is billed for the shorter encoding
    without the mask. Without a unicast, `unpack` gives the same model for every client.
    """

    experiment: Experiment
    state: ServerState
    payload: Payload
    decoded: Payload
    message: Message
    _common: list[ModelValues | None] = field(default_factory=list)

    @classmethod
    def of(cls, experiment: Experiment, state: ServerState) -> "Broadcast":
        """Encode what the algorithm sends to every client from this state."""
        payload = experiment.algorithm.broadcast(state)
        buffer = _encode(experiment, payload)
        return cls(
            experiment=experiment,
            state=state,
            payload=payload,
            decoded=decode(buffer),
            message=Message(buffer),
        )

    def request(
        self, task: ClientTask, client_state: Any, states: Mapping[int, Any] = MappingProxyType({})
    ) -> TaskRequest:
        """The task with the client's own state and message.

        `states` are the states of clients that took part, from which the client's neighbours send their messages.
        """
        experiment, algorithm = self.experiment, self.experiment.algorithm
        payload = algorithm.unicast(self.state, task, client_state)
        if neighbours := algorithm.neighbours(task):
            known_states = {k: states[k] if k in states else algorithm.init_client(k) for k in neighbours}
            payload += algorithm.relay(task, known_states)
        known = known_masks(experiment.setting.layout, algorithm.shared_mask(client_state))
        return TaskRequest(task, client_state, _encode(experiment, payload, known))

    def received_by(self, request: TaskRequest) -> ModelValues | None:
        """The model that the client of a task receives, in full coordinates; one object if all receive the same."""
        algorithm = self.experiment.algorithm
        if not request.unicast.size:
            if not self._common:
                self._common.append(algorithm.unpack(self.decoded, request.task, request.client_state))
            return self._common[0]
        known = known_masks(self.experiment.setting.layout, algorithm.shared_mask(request.client_state))
        payload = self.decoded + decode(request.unicast, known_masks=known)
        return algorithm.unpack(payload, request.task, request.client_state)

    @cached_property
    def known_masks(self) -> dict[str, Bool]:
        """The mask that both ends know after the download, by item name."""
        item = find_model(self.payload)
        return {MODEL_ITEM: item.mask} if isinstance(item, Masked) else {}

    @cached_property
    def mask_digest(self) -> str | None:
        """Digest of the mask in the message; None for a message without a mask."""
        mask = self.known_masks.get(MODEL_ITEM)
        return None if mask is None else mask_digest(torch.from_numpy(mask))

    @cached_property
    def _bytes_without_mask(self) -> int:
        return _encode(self.experiment, self.payload, self.known_masks).nbytes

    def download_bytes(self, request: TaskRequest, shared_mask: str | None) -> int:
        """Return the number of bytes for which a client is billed: the broadcast and the client's own unicast.

        `shared_mask` is the digest of the client's last broadcast mask (None: no mask). If this round's mask has the
        same digest, the client is billed for the broadcast without the mask.
        """
        if self.mask_digest is not None and shared_mask == self.mask_digest:
            return self._bytes_without_mask + request.unicast.nbytes
        return self.message.buffer.nbytes + request.unicast.nbytes


def _encode(
    experiment: Experiment, payload: Payload, known: dict[str, Bool] | None = None
) -> NDArray[np.uint8]:
    wire = experiment.config.wire
    data = encode(
        payload,
        value_dtype=wire.value_dtype,
        known_masks=known,
        version=wire.version,
        rng=_rounding(experiment, payload) if wire.value_dtype == "int8" else None,
    )
    return np.frombuffer(data, dtype=np.uint8)


def _rounding(experiment: Experiment, payload: Payload) -> np.random.Generator:
    """The random numbers that round a message of the server.

    They depend on the values and not on the round. The driver encodes a model when it evaluates the model or when
    clients train the model, and a resumed run encodes the model again. All these messages must be equal.
    """
    checksum = 0
    for item in payload:
        if isinstance(item, Dense | Masked):
            checksum = zlib.crc32(np.ascontiguousarray(item.values).data, checksum)
    return stream(experiment.config.seed, "server", "message", checksum)
