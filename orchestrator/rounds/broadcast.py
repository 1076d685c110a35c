"""What the server sends in one phase of a round, and what it costs each client to receive."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.execution.executor import Message, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, find_model, known_masks
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.masks import mask_digest
from orchestrator.sparsity.payload import Bool, Masked, Payload
from orchestrator.sparsity.wire import decode, encode


@dataclass(frozen=True, eq=False, kw_only=True)
class Broadcast:
    """The message for all, decoded again as the clients decode it, so that both ends compute with the same values.

    `message` carries the mask; a client that already holds it needs only the shorter encoding without. Where
    nothing is sent to one client alone, what `unpack` makes of the message is the same for all.
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

    def job(self, task: ClientTask, client_state: Any) -> TaskRequest:
        """The task with what its client alone is sent."""
        experiment, algorithm = self.experiment, self.experiment.algorithm
        payload = algorithm.unicast(self.state, task, client_state)
        held = known_masks(experiment.setting.layout, algorithm.shared_mask(client_state))
        return TaskRequest(task, client_state, _encode(experiment, payload, held))

    def received_by(self, job: TaskRequest) -> ModelValues | None:
        """The model as the job's client received it, in full coordinates; one object where all get the same."""
        algorithm = self.experiment.algorithm
        if not job.unicast.size:
            if not self._common:
                self._common.append(algorithm.unpack(self.decoded, job.task, job.client_state))
            return self._common[0]
        held = known_masks(self.experiment.setting.layout, algorithm.shared_mask(job.client_state))
        payload = self.decoded + decode(job.unicast, known_masks=held)
        return algorithm.unpack(payload, job.task, job.client_state)

    @cached_property
    def known_masks(self) -> dict[str, Bool]:
        """The mask that both ends know once a client has received the message, by item name."""
        item = find_model(self.payload)
        return {MODEL_ITEM: item.mask} if isinstance(item, Masked) else {}

    @cached_property
    def mask_digest(self) -> str | None:
        """Name of the mask in the message; None where nothing is masked."""
        mask = self.known_masks.get(MODEL_ITEM)
        return None if mask is None else mask_digest(torch.from_numpy(mask))

    @cached_property
    def _bytes_without_mask(self) -> int:
        return _encode(self.experiment, self.payload, self.known_masks).nbytes

    def download_bytes(self, job: TaskRequest, shared_mask: str | None) -> int:
        """Encoded length of what a client lacks that holds the broadcast mask of that digest (None: none)."""
        if self.mask_digest is not None and shared_mask == self.mask_digest:
            return self._bytes_without_mask + job.unicast.nbytes
        return self.message.buffer.nbytes + job.unicast.nbytes


def _encode(
    experiment: Experiment, payload: Payload, held: dict[str, Bool] | None = None
) -> NDArray[np.uint8]:
    data = encode(payload, value_dtype=experiment.config.wire.value_dtype, known_masks=held)
    return np.frombuffer(data, dtype=np.uint8)
