"""Clipped updates by hand."""

import numpy as np
import pytest

from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.local.sent_model import SentModel
from orchestrator.federation.privacy.clipping import clipped_payload
from orchestrator.sparsity.payload import Bits, Dense, Masked, Payload


def _clipped(payload: Payload, start: list[float], clip_norm: float) -> Payload:
    item = payload[0]
    assert isinstance(item, Dense | Masked)
    model = SentModel(item, np.arange(item.values.size), np.array(start, np.float32))
    return clipped_payload(payload, model, clip_norm)


def test_long_change_is_scaled_to_the_norm() -> None:
    """The change (3, 4) has the norm 5; with C = 1 it becomes (0.6, 0.8)."""
    (sent,) = _clipped((Dense(MODEL_ITEM, np.array([4.0, 6.0], np.float32)),), [1.0, 2.0], 1.0)
    assert isinstance(sent, Dense)
    assert sent.values.tolist() == pytest.approx([1.6, 2.8])


@pytest.mark.parametrize("clip_norm", [5.0, 1e12])
def test_short_change_is_sent_as_it_is(clip_norm: float) -> None:
    payload = (Dense(MODEL_ITEM, np.array([4.0, 6.0], np.float32)),)
    assert _clipped(payload, [1.0, 2.0], clip_norm) is payload


def test_norm_counts_only_the_entries_that_are_sent() -> None:
    """Two of three maskable entries, with the change (0, 2): half of it for C = 1. Other items stay."""
    mask, bits = np.array([True, False, True]), Bits("units", np.array([True]))
    payload = (Masked(MODEL_ITEM, np.array([7.0, 3.0], np.float32), mask), bits)
    sent, further = _clipped(payload, [7.0, 1.0], 1.0)
    assert isinstance(sent, Masked)
    assert sent.values.tolist() == [7.0, 2.0]
    assert sent.mask.tolist() == mask.tolist()
    assert further is bits
