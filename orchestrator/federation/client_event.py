"""One client's participation in a round: bytes measured, FLOPs counted, seconds emulated."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import DeviceProfile

#: used; late: after the deadline; surplus: enough other clients had answered; stale: from too old a model;
#: vanished: the device disappeared during the task
EventOutcome = Literal["used", "late", "surplus", "stale", "vanished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvent:
    """One client's participation in one round.

    `train_flops` counts no masked weight, `unmasked_flops` the model in training without its mask, and
    `train_flops_dense` the full model. `compute_ideal_s` is `compute_s` with a sparse efficiency of 1. `start_s` is the
    emulated time from the run's start to the start of the download. `outcome` says what the server did with the update.
    `staleness` counts the server's steps since the model from which the client started.
    """

    round_idx: int
    kind: str
    position: int
    client_id: int
    profile: str
    download_bytes: int
    upload_bytes: int
    train_flops: float
    train_flops_dense: float
    unmasked_flops: float
    download_s: float
    compute_s: float
    compute_ideal_s: float
    upload_s: float
    num_examples: int
    train_loss: float
    start_s: float = 0.0
    outcome: EventOutcome = "used"
    staleness: int = 0

    @property
    def total_s(self) -> float:
        """Emulated seconds from download to upload."""
        return self.download_s + self.compute_s + self.upload_s

    def to_line(self) -> str:
        """The event as one line of JSON. A loss of NaN, as in a probe, becomes null."""
        loss = None if math.isnan(self.train_loss) else self.train_loss
        return json.dumps(asdict(self) | {"train_loss": loss})


def participation(
    task: ClientTask,
    update: ClientUpdate[Any],
    profile: DeviceProfile,
    download_bytes: int,
    *,
    start_s: float = 0.0,
    upload_copies: int = 1,
) -> ClientEvent:
    """The event of a task's update, for a client that received `download_bytes` from emulated time `start_s` on.

    The client sends its update to `upload_copies` receivers.
    """
    upload_bytes = update.buffer.nbytes * upload_copies
    time = client_time(
        profile,
        download_bytes=download_bytes,
        train_flops=update.train_flops,
        unmasked_flops=update.unmasked_flops,
        upload_bytes=upload_bytes,
    )
    return ClientEvent(
        round_idx=task.round_idx,
        kind=task.kind,
        position=task.position,
        client_id=task.client_id,
        profile=profile.name,
        download_bytes=download_bytes,
        upload_bytes=upload_bytes,
        train_flops=float(update.train_flops),
        train_flops_dense=float(update.train_flops_dense),
        unmasked_flops=float(update.unmasked_flops),
        download_s=time.download_s,
        compute_s=time.compute_s,
        compute_ideal_s=time.compute_ideal_s,
        upload_s=time.upload_s,
        num_examples=update.num_examples,
        train_loss=update.metrics.get("loss", float("nan")),
        start_s=start_s,
    )


def interrupted_event(event: ClientEvent, after_s: float) -> ClientEvent:
    """The event of a device that vanishes `after_s` seconds after the start: its work until then, without an upload.

    A download that has started counts with all its bytes.
    """
    after_s = max(after_s, 0.0)
    compute_s = min(event.compute_s, max(0.0, after_s - event.download_s))
    share = compute_s / event.compute_s if event.compute_s else 0.0
    download_s = min(event.download_s, after_s)
    return replace(
        event,
        download_bytes=event.download_bytes if after_s > 0.0 else 0,
        upload_bytes=0,
        train_flops=event.train_flops * share,
        train_flops_dense=event.train_flops_dense * share,
        unmasked_flops=event.unmasked_flops * share,
        download_s=download_s,
        compute_s=compute_s,
        compute_ideal_s=event.compute_ideal_s * share,
        upload_s=after_s - download_s - compute_s,
        outcome="vanished",
    )
