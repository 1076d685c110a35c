"""What a round cost: bytes measured, FLOPs counted, seconds emulated; per client and in running totals."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor

from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import DeviceProfile

#: metrics that are also summed over the run, under `<name>_total`
TOTALLED = (
    "comm/upload_bytes",
    "comm/download_bytes",
    "compute/train_flops",
    "compute/train_flops_dense",
    "time/emulated_s",
    "time/wall_s",
    "fleet/failures",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEvent:
    """One client's participation in one round."""

    round_idx: int
    kind: str
    position: int
    client_id: int
    profile: str
    download_bytes: int
    upload_bytes: int
    train_flops: float
    train_flops_dense: float
    download_s: float
    compute_s: float
    upload_s: float
    num_examples: int
    train_loss: float

    @property
    def total_s(self) -> float:
        """Emulated seconds from download to upload."""
        return self.download_s + self.compute_s + self.upload_s

    def to_line(self) -> str:
        """The event as one line of JSON; a loss that is no number, as a probe's, is null."""
        loss = None if math.isnan(self.train_loss) else self.train_loss
        return json.dumps(asdict(self) | {"train_loss": loss})


def participation(
    task: ClientTask, update: ClientUpdate[Any], profile: DeviceProfile, download_bytes: int
) -> ClientEvent:
    """The event of a task's update whose client received so many bytes."""
    time = client_time(
        profile,
        download_bytes=download_bytes,
        train_flops=update.train_flops,
        upload_bytes=update.buffer.nbytes,
    )
    return ClientEvent(
        round_idx=update.round_idx,
        kind=task.kind,
        position=update.position,
        client_id=update.client_id,
        profile=profile.name,
        download_bytes=download_bytes,
        upload_bytes=update.buffer.nbytes,
        train_flops=update.train_flops,
        train_flops_dense=update.train_flops_dense,
        download_s=time.download_s,
        compute_s=time.compute_s,
        upload_s=time.upload_s,
        num_examples=update.num_examples,
        train_loss=update.metrics.get("loss", float("nan")),
    )


def round_costs(
    phases: Sequence[Sequence[ClientEvent]], num_failures: int, wall_s: float, deadline_s: float | None = None
) -> dict[str, float]:
    """The round's metrics from its phases in order, of which the last one trains.

    A synchronous phase ends, in emulated time, at its slowest client; training ends at the deadline (None: there
    is none) that a straggler misses. A client drawn twice does its tasks one after the other.
    """
    events, training = [e for phase in phases for e in phase], phases[-1]
    examples = sum(e.num_examples for e in training)
    return {
        "comm/upload_bytes": sum(e.upload_bytes for e in events),
        "comm/download_bytes": sum(e.download_bytes for e in events),
        "compute/train_flops": sum(e.train_flops for e in events),
        "compute/train_flops_dense": sum(e.train_flops_dense for e in events),
        "time/emulated_s": sum(_phase_s(phase, None) for phase in phases[:-1])
        + _phase_s(training, deadline_s),
        "time/wall_s": wall_s,
        "train/loss": sum(e.train_loss * e.num_examples for e in training) / max(1, examples),
        "fleet/participants": len(training) - _num_late(training, deadline_s),
        "fleet/failures": num_failures,
        "fleet/stragglers": _num_late(training, deadline_s),
    }


def _phase_s(events: Sequence[ClientEvent], deadline_s: float | None) -> float:
    if deadline_s is not None and _num_late(events, deadline_s):
        return deadline_s
    busy_s: dict[int, float] = {}
    for event in events:
        busy_s[event.client_id] = busy_s.get(event.client_id, 0.0) + event.total_s
    return max(busy_s.values(), default=0.0)


def _num_late(events: Sequence[ClientEvent], deadline_s: float | None) -> int:
    return 0 if deadline_s is None else sum(e.total_s > deadline_s for e in events)


def add_totals(totals: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """Running totals after one more round."""
    return {f"{name}_total": totals.get(f"{name}_total", 0.0) + costs[name] for name in TOTALLED}


def mask_digest(mask: Tensor) -> str:
    """A short stable name for a bool[D] mask, by which the server knows who holds it."""
    return blake2b(np.packbits(mask.numpy()).tobytes(), digest_size=16).hexdigest()
