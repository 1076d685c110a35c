"""One round's message from the server, and what it costs each client to receive."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, find_model, unpack_model
from orchestrator.runtime.executor import Message
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.ledger import mask_digest
from orchestrator.sparsity.payload import Bool, Masked, Payload
from orchestrator.sparsity.wire import decode, encode


@dataclass(frozen=True, eq=False, kw_only=True)
class Broadcast:
    """The message, decoded again as the clients decode it, so that both ends compute with the same values.

    `message` carries the mask; a client that already holds it needs only the shorter encoding without.
    """

    payload: Payload
    message: Message
    received: ModelValues
    value_dtype: Literal["float32", "float16"]

    @classmethod
    def of(cls, experiment: Experiment, state: ServerState) -> "Broadcast":
        """Encode what the algorithm sends from this state."""
        payload = experiment.algorithm.broadcast(state)
        value_dtype = experiment.config.wire.value_dtype
        buffer = np.frombuffer(encode(payload, value_dtype=value_dtype), dtype=np.uint8)
        received = unpack_model(experiment.setting.layout, decode(buffer))
        return cls(payload=payload, message=Message(buffer), received=received, value_dtype=value_dtype)

    @cached_property
    def known_masks(self) -> dict[str, Bool]:
        """The mask that both ends know once a client has received the message, by item name."""
        item = find_model(self.payload)
        return {MODEL_ITEM: item.mask} if isinstance(item, Masked) else {}

    @cached_property
    def mask_digest(self) -> str | None:
        """Name of the mask in the message; None where nothing is masked."""
        return None if self.received.mask is None else mask_digest(self.received.mask)

    @cached_property
    def _bytes_without_mask(self) -> int:
        return len(encode(self.payload, value_dtype=self.value_dtype, known_masks=self.known_masks))

    def download_bytes(self, held_mask: str | None) -> int:
        """Encoded length of what a client lacks that holds the mask of that digest (None: none)."""
        if self.mask_digest is not None and held_mask == self.mask_digest:
            return self._bytes_without_mask
        return int(self.message.buffer.nbytes)
