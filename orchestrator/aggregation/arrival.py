"""An update that has come back: decoded, with what it cost and when, in emulated time, it reached the server."""

from dataclasses import dataclass
from typing import Any

from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.client_event import ClientEvent, interrupted_event
from orchestrator.federation.exchange import ModelValues, without_model
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.sparsity.payload import Payload


@dataclass(frozen=True, eq=False)
class Decoded:
    """What is in an update: the model that its client received and the one that it sent, in full coordinates."""

    job: TaskRequest
    sent: ClientUpdate[Any]
    received: ModelValues | None
    model: ModelValues | None
    items: Payload

    @classmethod
    def of(
        cls,
        job: TaskRequest,
        sent: ClientUpdate[Any],
        received: ModelValues | None,
        model: ModelValues | None,
        payload: Payload,
    ) -> "Decoded":
        """With what the payload has beside the model."""
        return cls(job, sent, received, model, without_model(payload))

    def contribution(self, weight: float) -> Contribution:
        """As the aggregators take it."""
        return Contribution(
            client_id=self.sent.client_id,
            weight=weight,
            values=None if self.model is None else self.model.values,
            mask=None if self.model is None else self.model.mask,
            start=None if self.received is None else self.received.values,
            items=self.items,
        )


@dataclass(frozen=True, eq=False)
class Arrival:
    """A decoded update and its event; `mask_digest` names the mask that its client got with the message."""

    decoded: Decoded
    event: ClientEvent
    mask_digest: str | None

    @property
    def at_s(self) -> float:
        """Emulated time since the run began at which it is there, or its device gone."""
        return self.event.start_s + self.event.total_s

    @property
    def is_downloaded(self) -> bool:
        """Whether the message reached the client: a device that vanished on the way did nothing after it."""
        return self.event.outcome != "vanished" or self.event.compute_s + self.event.upload_s > 0.0


def departure(
    experiment: Experiment, job: TaskRequest, profile: DeviceProfile, start_s: float
) -> tuple[float, float]:
    """When the device of a training task leaves: after so many emulated seconds, or after a share of the task's time.

    It leaves at the end of its availability (inf: it stays). One that drops out, with its profile's probability, does
    so after a share of the task that is uniform in (0, 1); 1 for one that does not.
    """
    task = job.task
    available_s = experiment.setting.population.available_until(task.client_id, start_s) - start_s
    if profile.dropout:
        path = ("client", task.round_idx, task.client_id, task.position, "dropout")
        rng = stream(experiment.config.seed, *path)
        if rng.random() < profile.dropout:
            return available_s, float(rng.random())
    return available_s, 1.0


def with_dropout(
    experiment: Experiment, job: TaskRequest, profile: DeviceProfile, event: ClientEvent
) -> ClientEvent:
    """The event of a training task, cut short where its device leaves first. Tasks of other kinds are always done."""
    if job.task.kind != "train":
        return event
    available_s, share = departure(experiment, job, profile, event.start_s)
    leaves_s = min(available_s, event.total_s * share)
    return interrupted_event(event, leaves_s) if leaves_s < event.total_s else event
