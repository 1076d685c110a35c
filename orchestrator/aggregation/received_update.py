"""A client's update as the server has it: checked, with its costs and its time of arrival."""

from dataclasses import dataclass
from typing import Any

from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate, PayloadReport, StoredUpdate
from orchestrator.sparsity.payload import Payload


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DecodedUpdate:
    """The content of an update: the model that the client received, the model that it sent, and its other items.

    Both models are in full coordinates.
    """

    received: ModelValues | None
    model: ModelValues | None
    items: Payload

    def contribution(self, client_id: int, weight: float) -> Contribution:
        """Return the update in the form that aggregators add."""
        entries = None if self.model is None else self.model.entries
        is_full = self.model is not None and entries is None
        return Contribution(
            client_id=client_id,
            weight=weight,
            values=self.model.values if self.model is not None and is_full else None,
            mask=self.model.mask if self.model is not None and is_full else None,
            start=None if self.received is None else self.received.values,
            items=self.items,
            entries=entries,
        )


#: the decoded content of an update, or the reference to an encoded content that aggregators decode
Content = DecodedUpdate | StoredUpdate[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class ReceivedUpdate:
    """An update that passed admission.

    `mask_digest` names the mask that came with the broadcast (None: no mask). `event` says what the task cost in bytes,
    FLOPs and emulated seconds.
    """

    task: ClientTask
    sent: ClientUpdate[Any]
    content: Content
    mask_digest: str | None
    event: ClientEvent

    @property
    def client_id(self) -> int:
        """The client that sent the update."""
        return self.task.client_id

    @property
    def has_model(self) -> bool:
        """Whether the update has a model."""
        if isinstance(self.content, DecodedUpdate):
            return self.content.model is not None
        report = self.content.report()
        return isinstance(report, PayloadReport) and report.has_model

    @property
    def arrival_s(self) -> float:
        """Emulated time since the run began at which the update arrives, or its device drops out."""
        return self.event.start_s + self.event.total_s

    @property
    def is_downloaded(self) -> bool:
        """Whether the message reached the client; False for a device that dropped out during the download."""
        return self.event.outcome != "vanished" or self.event.compute_s + self.event.upload_s > 0.0
