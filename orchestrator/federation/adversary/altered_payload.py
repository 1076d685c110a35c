"""Alters what an attacker sends: sign flip, Gaussian noise, and inner-product manipulation.

w_k0 is the model that the client received, w_k the model that it trained, and s the scale of the attack:

    sign_flip      w_k0 - s (w_k - w_k0)
    inner_product  the same, of a model that was trained on samples of all attackers, which estimates the honest mean
                   (Xie, Koyejo and Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
                   Manipulation", UAI 2019, arXiv 1903.03936)
    gaussian       w_k0 + s N(0, 1), in each entry

Only the entries that the client sends change, so that an update keeps its mask and its length. Running statistics do
not change: a negative variance would end the run. An item besides the model (a sparse change, a control variate,
scores) is altered as a change from 0. Scalars do not change. Bits change only in a payload without any other vector,
because there the bits are the update and not a mask.

Deviation: the attackers of Fall of Empires know the updates of all honest clients. These attackers know only their own
samples. For SGD, the mean over attackers with independent samples estimates the same mean.
"""

import numpy as np

from orchestrator.config.robustness import AttackConfig
from orchestrator.federation.local.sent_model import SentModel
from orchestrator.sparsity.payload import Bits, Bool, Dense, Float32, Item, Masked, Payload, with_values


def altered_payload(
    config: AttackConfig,
    payload: Payload,
    model: SentModel | None,
    num_trainable: int,
    rng: np.random.Generator,
) -> Payload:
    """The payload that an attacker sends in place of an honest one. Entries from `num_trainable` on are statistics."""
    has_vector = any(isinstance(item, Dense | Masked) for item in payload)

    def altered(item: Item) -> Item:
        match item:
            case Dense() | Masked() if model is not None and item is model.item:
                values = _altered_values(config, item.values, model.start, rng)
                return with_values(item, np.where(model.index < num_trainable, values, item.values))
            case Dense() | Masked():
                return with_values(item, _altered_values(config, item.values, np.float32(0.0), rng))
            case Bits() if not has_vector:
                return Bits(item.name, _altered_bits(config, item, rng))
        return item

    return tuple(altered(item) for item in payload)


def _altered_values(
    config: AttackConfig, values: Float32, start: Float32 | np.float32, rng: np.random.Generator
) -> Float32:
    if config.kind == "gaussian":
        change = config.scale * rng.standard_normal(values.size)
    else:
        change = -config.scale * (values.astype(np.float64) - start)
    return (start + change).astype(np.float32)


def _altered_bits(config: AttackConfig, item: Bits, rng: np.random.Generator) -> Bool:
    """The opposite bits; random bits for Gaussian noise."""
    return rng.random(item.bits.size) < 0.5 if config.kind == "gaussian" else ~item.bits
