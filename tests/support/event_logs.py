"""The logs of a run with two rounds and three clients; the numbers are simple enough for calculations by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.client_event import ClientEvent
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.storage.checkpoints.checkpoint import Checkpoint
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord

#: three devices with simple speeds
MIDDLE = DeviceProfile(name="middle", flops_per_s=100.0, uplink_bytes_per_s=2.0, downlink_bytes_per_s=5.0)
SLOW = DeviceProfile(name="slow", flops_per_s=50.0, uplink_bytes_per_s=1.0, downlink_bytes_per_s=5.0)
FAST = DeviceProfile(name="fast", flops_per_s=200.0, uplink_bytes_per_s=4.0, downlink_bytes_per_s=10.0)


def probe(round_idx: int, position: int, client_id: int, start_s: float = 0.0) -> ClientEvent:
    """A probe: 10 / 5 + 100 / 100 + 2 / 2 = 4 s on MIDDLE, 2 + 2 + 2 = 6 s on SLOW, 1 + 0.5 + 0.5 = 2 s on FAST."""
    return ClientEvent(
        round_idx=round_idx,
        kind="probe",
        position=position,
        client_id=client_id,
        profile="middle",
        download_bytes=10,
        upload_bytes=2,
        train_flops=100.0,
        train_flops_dense=100.0,
        unmasked_flops=100.0,
        download_s=2.0,
        compute_s=1.0,
        compute_ideal_s=1.0,
        upload_s=1.0,
        num_examples=5,
        train_loss=float("nan"),
        start_s=start_s,
    )


def training(round_idx: int, position: int, client_id: int, start_s: float = 0.0) -> ClientEvent:
    """Training: 20 / 5 + 300 / 100 + 8 / 2 = 11 s on MIDDLE, 4 + 6 + 8 = 18 s on SLOW, 2 + 1.5 + 2 = 5.5 s on FAST."""
    return replace(
        probe(round_idx, position, client_id, start_s),
        kind="train",
        download_bytes=20,
        upload_bytes=8,
        train_flops=300.0,
        train_flops_dense=600.0,
        unmasked_flops=300.0,
        download_s=4.0,
        compute_s=3.0,
        compute_ideal_s=3.0,
        upload_s=4.0,
        train_loss=0.5,
    )


#: round 0: probes of clients 0 and 1, then client 2 trains twice and client 1 once; 4 + 22 s on MIDDLE
#: round 1: two probes of client 1 in a row, then client 0 trains; 4 + 4 + 11 s on MIDDLE
EVENTS = (
    probe(0, 0, 0),
    probe(0, 1, 1),
    training(0, 0, 2, 4.0),
    training(0, 1, 1, 4.0),
    training(0, 2, 2, 4.0),
    probe(1, 0, 1, 26.0),
    probe(1, 0, 1, 30.0),
    training(1, 0, 0, 34.0),
)
RECORDS = (
    RoundRecord(0, 0, {"time/emulated_s": 26.0, "time/emulated_s_total": 26.0}),
    RoundRecord(
        1,
        0,
        {
            "time/emulated_s": 19.0,
            "time/emulated_s_total": 45.0,
            "eval/accuracy": 0.5,
            "personal/accuracy_mean": 0.25,
        },
    ),
)


def write_run(
    folder: Path,
    *overrides: str,
    records: Sequence[RoundRecord] = RECORDS,
    events: Sequence[ClientEvent] = EVENTS,
) -> Path:
    """Write the folder of a run of three clients with these logs, and commit each round."""
    assignments = ["fleet.num_clients=3", "training.clients_per_round=3", *overrides]
    store = RunStore(folder)
    store.describe(ExperimentConfig.parse(apply_overrides({}, assignments)).to_dict(), {})
    for record in records:
        round_events = [event.to_line() for event in events if event.round_idx == record.round_idx]
        store.commit(
            _checkpoint(record.round_idx),
            {"metrics.jsonl": [record.to_line()], "events.jsonl": round_events, "failures.jsonl": []},
        )
    return folder


def _checkpoint(round_idx: int) -> Checkpoint:
    return Checkpoint(
        round_idx=round_idx,
        server_state={"w": torch.zeros(1)},
        client_states={},
        shared_masks={},
        totals={},
        log_bytes={},
    )
