"""A client's update as the server has it: decoded, with its costs and its time of arrival."""

from dataclasses import dataclass
from typing import Any

from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.sparsity.payload import Payload


@dataclass(frozen=True, eq=False, kw_only=True)
class ReceivedUpdate:
    """A decoded update that passed admission.

    `received` is the model that the client received and `model` the model that the client sent, both in full
    coordinates; `items` is the rest of the payload. `mask_digest` names the mask that came with the broadcast (None:
    no mask). `event` says what the task cost in bytes, FLOPs and emulated seconds.
    """

    task: ClientTask
    sent: ClientUpdate[Any]
    received: ModelValues | None
    model: ModelValues | None
    items: Payload
    mask_digest: str | None
    event: ClientEvent

    @property
    def client_id(self) -> int:
        """The client that sent the update."""
        return self.task.client_id

    @property
    def arrival_s(self) -> float:
        """Emulated time since the run began at which the update arrives, or its device drops out."""
        return self.event.start_s + self.event.total_s

    @property
    def is_downloaded(self) -> bool:
        """Whether the message reached the client; False for a device that dropped out during the download."""
        return self.event.outcome != "vanished" or self.event.compute_s + self.event.upload_s > 0.0

    def contribution(self, weight: float) -> Contribution:
        """The update in the form that aggregators add."""
        entries = None if self.model is None else self.model.entries
        is_full = self.model is not None and entries is None
        return Contribution(
            client_id=self.client_id,
            weight=weight,
            values=self.model.values if self.model is not None and is_full else None,
            mask=self.model.mask if self.model is not None and is_full else None,
            start=None if self.received is None else self.received.values,
            items=self.items,
            entries=entries,
        )
