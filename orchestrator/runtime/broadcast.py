"""What the server sends in one phase of a round, and what it costs each client to receive."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, known_masks, unpack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.runtime.executor import Job, Message
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.ledger import mask_digest
from orchestrator.sparsity.payload import Bool, Payload
from orchestrator.sparsity.wire import decode, encode


@dataclass(frozen=True, eq=False, kw_only=True)
class Broadcast:
    """The message for all, decoded again as the clients decode it, so that both ends compute with the same values.

    `message` carries the mask; a client that already holds it needs only the shorter encoding without.
    """

    experiment: Experiment
    state: ServerState
    payload: Payload
    decoded: Payload
    message: Message
    received: ModelValues | None

    @classmethod
    def of(cls, experiment: Experiment, state: ServerState) -> "Broadcast":
        """Encode what the algorithm sends to every client from this state."""
        payload = experiment.algorithm.broadcast(state)
        buffer = _encode(experiment, payload)
        decoded = decode(buffer)
        return cls(
            experiment=experiment,
            state=state,
            payload=payload,
            decoded=decoded,
            message=Message(buffer),
            received=unpack_model(experiment.setting.layout, decoded),
        )

    def job(self, task: ClientTask, client_state: Any) -> Job:
        """The task with what its client alone is sent."""
        experiment, algorithm = self.experiment, self.experiment.algorithm
        payload = algorithm.unicast(self.state, task, client_state)
        held = known_masks(experiment.setting.layout, algorithm.held_mask(client_state))
        return Job(task, client_state, _encode(experiment, payload, held))

    def received_by(self, job: Job) -> ModelValues | None:
        """The model as the job's client received it, in full coordinates."""
        if not job.unicast.size:
            return self.received
        experiment, algorithm = self.experiment, self.experiment.algorithm
        held = known_masks(experiment.setting.layout, algorithm.held_mask(job.client_state))
        payload = self.decoded + decode(job.unicast, known_masks=held)
        return algorithm.unpack(payload, job.task, job.client_state)

    @cached_property
    def known_masks(self) -> dict[str, Bool]:
        """The mask that both ends know once a client has received the message, by item name."""
        mask = None if self.received is None else self.received.mask
        return known_masks(self.experiment.setting.layout, mask)

    @cached_property
    def mask_digest(self) -> str | None:
        """Name of the mask in the message; None where nothing is masked."""
        if self.received is None or self.received.mask is None:
            return None
        return mask_digest(self.received.mask)

    @cached_property
    def _bytes_without_mask(self) -> int:
        return _encode(self.experiment, self.payload, self.known_masks).nbytes

    def download_bytes(self, job: Job, held_mask: str | None) -> int:
        """Encoded length of what a client lacks that holds the broadcast mask of that digest (None: none)."""
        if self.mask_digest is not None and held_mask == self.mask_digest:
            return self._bytes_without_mask + job.unicast.nbytes
        return self.message.buffer.nbytes + job.unicast.nbytes


def _encode(
    experiment: Experiment, payload: Payload, held: dict[str, Bool] | None = None
) -> NDArray[np.uint8]:
    data = encode(payload, value_dtype=experiment.config.wire.value_dtype, known_masks=held)
    return np.frombuffer(data, dtype=np.uint8)
