"""What attackers send, by hand, with and without masks."""

import numpy as np
import pytest

from orchestrator.config.robustness import AttackConfig
from orchestrator.federation.adversary.altered_payload import altered_payload
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.local.sent_model import SentModel
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar

FLIP = AttackConfig(kind="sign_flip", scale=2.0)
NOISE = AttackConfig(kind="gaussian", scale=3.0)


def _array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def _alter(
    config: AttackConfig, payload: Payload, model: SentModel | None = None, num_trainable: int = 100
) -> Payload:
    return altered_payload(config, payload, model, num_trainable, np.random.default_rng(5))


def _values(item: Item) -> list[float]:
    assert isinstance(item, Dense | Masked)
    return item.values.tolist()


@pytest.mark.parametrize("kind", ["sign_flip", "inner_product"])
def test_opposite_change_by_hand(kind: str) -> None:
    """From 1 to 1.5 with scale 2: 1 - 2 x 0.5 = 0; from 4 to 3: 4 + 2 = 6."""
    item = Dense(MODEL_ITEM, _array(1.5, 3.0))
    model = SentModel(item, np.array([0, 1]), _array(1.0, 4.0))
    config = AttackConfig.model_validate({"kind": kind, "scale": 2.0})
    (sent,) = _alter(config, (item,), model)
    assert _values(sent) == [0.0, 6.0]


def test_masked_model_keeps_its_mask() -> None:
    """Three maskable entries, of which the client holds the last, and one entry that is never masked."""
    mask = np.array([False, False, True])
    item = Masked(MODEL_ITEM, _array(2.0, 5.0), mask)
    model = SentModel(item, np.array([2, 3]), _array(1.0, 5.5))
    (sent,) = _alter(FLIP, (item,), model)
    assert isinstance(sent, Masked)
    assert sent.mask.tolist() == mask.tolist()
    assert _values(sent) == [-1.0, 6.5]


def test_running_statistics_do_not_change() -> None:
    item = Dense(MODEL_ITEM, _array(2.0, 7.0))
    model = SentModel(item, np.array([0, 1]), _array(1.0, 1.0))
    (sent,) = _alter(FLIP, (item,), model, num_trainable=1)
    assert _values(sent) == [-1.0, 7.0]


def test_further_vectors_are_changes_from_zero() -> None:
    update = Masked("update", _array(1.0, -2.0), np.array([True, False, True]))
    payload = _alter(FLIP, (update, Scalar("loss", 0.5), Bits("units", np.array([True]))))
    assert _values(payload[0]) == [-2.0, 4.0]
    assert payload[1:] == (Scalar("loss", 0.5), payload[2])
    assert isinstance(payload[2], Bits)
    assert payload[2].bits.tolist() == [True]


def test_bits_that_are_the_update_are_flipped() -> None:
    (sent,) = _alter(FLIP, (Bits("mask", np.array([True, False])),))
    assert isinstance(sent, Bits)
    assert sent.bits.tolist() == [False, True]


def test_noise_replaces_the_change() -> None:
    """Mean and standard deviation of 40,000 entries: 1 and 3, with standard errors of 0.015 and 0.011."""
    size = 40_000
    item = Dense(MODEL_ITEM, np.full(size, 100.0, np.float32))
    model = SentModel(item, np.arange(size), np.ones(size, np.float32))
    (sent,) = _alter(NOISE, (item,), model, num_trainable=size)
    values = np.array(_values(sent))
    assert abs(values.mean() - 1.0) < 0.075
    assert abs(values.std() - 3.0) < 0.055


def test_noise_on_bits_is_random() -> None:
    (sent,) = _alter(NOISE, (Bits("mask", np.ones(10_000, np.bool_)),))
    assert isinstance(sent, Bits)
    assert abs(sent.bits.mean() - 0.5) < 0.025
