"""Events and updates of clients with simple numbers, for calculations by hand."""

from typing import Any

import numpy as np
import torch

from orchestrator.aggregation.received_update import DecodedUpdate, ReceivedUpdate
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate


def client_event(**changes: Any) -> ClientEvent:
    """A training of client 0 in round 0: 20 bytes down in 4 s, 250 FLOPs in 2.5 s, and 8 bytes up in 4 s."""
    content: dict[str, Any] = {
        "round_idx": 0,
        "kind": "train",
        "position": 0,
        "client_id": 0,
        "profile": "slow",
        "download_bytes": 20,
        "upload_bytes": 8,
        "train_flops": 250.0,
        "train_flops_dense": 400.0,
        "unmasked_flops": 250.0,
        "download_s": 4.0,
        "compute_s": 2.5,
        "compute_ideal_s": 2.5,
        "upload_s": 4.0,
        "num_examples": 10,
        "train_loss": 0.5,
    }
    return ClientEvent(**(content | changes))


def client_update(**changes: Any) -> ClientUpdate[Any]:
    """The update that belongs to `client_event`."""
    content: dict[str, Any] = {
        "round_idx": 0,
        "position": 0,
        "client_id": 0,
        "buffer": np.zeros(8, dtype=np.uint8),
        "num_examples": 10,
        "train_flops": 250.0,
        "train_flops_dense": 400.0,
        "unmasked_flops": 250.0,
        "client_state": None,
        "metrics": {"loss": 0.5},
    }
    return ClientUpdate(**(content | changes))


def received_update(
    values: tuple[float, ...] = (0.0,),
    *,
    client_id: int = 0,
    num_examples: int = 10,
    client_state: Any = None,
    metrics: dict[str, float] | None = None,
    mask_digest: str | None = None,
    **event: Any,
) -> ReceivedUpdate:
    """An update with these model values; `event` changes its event."""
    found = client_event(client_id=client_id, num_examples=num_examples, **event)
    return ReceivedUpdate(
        task=ClientTask(round_idx=found.round_idx, position=found.position, client_id=client_id),
        sent=client_update(
            round_idx=found.round_idx,
            client_id=client_id,
            num_examples=num_examples,
            client_state=client_state,
            metrics=metrics or {},
        ),
        content=DecodedUpdate(
            received=ModelValues(torch.zeros(len(values)), None),
            model=ModelValues(torch.tensor(values), None),
            items=(),
        ),
        mask_digest=mask_digest,
        event=found,
    )
