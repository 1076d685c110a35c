"""Clips a client's update: scales the change of its model down to a largest norm.

With w_k0 the model that the client received, w_k the model that it sends and C the largest norm, the client sends
w_k0 + min(1, C / |w_k - w_k0|) (w_k - w_k0). The norm counts the entries that the client sends.

McMahan, Ramage, Talwar and Zhang, "Learning Differentially Private Recurrent Language Models", ICLR 2018,
arXiv 1710.06963, call this flat clipping.
"""

import numpy as np

from orchestrator.federation.local.sent_model import SentModel
from orchestrator.sparsity.payload import Payload, with_values


def clipped_payload(payload: Payload, model: SentModel, clip_norm: float) -> Payload:
    """The payload with the clipped model; the payload itself if the change is short enough."""
    change = model.item.values.astype(np.float64) - model.start
    norm = float(np.sqrt(np.square(change).sum()))
    if norm <= clip_norm:
        return payload
    values = (model.start + change * (clip_norm / norm)).astype(np.float32)
    clipped = with_values(model.item, values)
    return tuple(clipped if item is model.item else item for item in payload)
