"""Discounts stale updates, whose clients started from an older model than the server's current model.

    fedbuff    x = w + s(tau) (w_k - w_k0)            FedBuff, Nguyen et al., arXiv 2106.06639
    fedasync   x = w + alpha s(tau) (w_k - w)         FedAsync, Xie et al., arXiv 1903.03934
    refl       x = w + w_k - w_k0, and the weight of the client times s_k      REFL, arXiv 2111.01108

w is the current model, w_k0 the model from which the client started, w_k the model that the client trained, and tau the
number of server steps in between. Both formulas apply to the entries inside the client's mask. The method's aggregator
then averages x as if the client had started from w. For an update without a model, the discount multiplies its weight,
which has an effect only relative to the other updates in the same buffer.

`refl_weight` is s_k of REFL. Module `aggregation/refl_sums.py` uses it, because it compares all updates of a round.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import exp
from types import MappingProxyType

from torch import Tensor, float32, float64, from_numpy

from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.federation.aggregate import Contribution


def _polynomial(config: AsynchronyConfig, staleness: int) -> float:
    return float((1.0 + staleness) ** -config.exponent)


def _hinge(config: AsynchronyConfig, staleness: int) -> float:
    beyond = staleness - config.hinge
    return 1.0 if beyond <= 0 else 1.0 / (config.exponent * beyond + 1.0)


_DISCOUNTS: Mapping[str, Callable[[AsynchronyConfig, int], float]] = MappingProxyType(
    {"constant": lambda config, staleness: 1.0, "polynomial": _polynomial, "hinge": _hinge}
)


def discount(config: AsynchronyConfig, staleness: int) -> float:
    """s(tau) in (0, 1]: 1; (1 + tau)^-a; or 1 up to b and 1 / (a (tau - b) + 1) beyond (FedAsync, section 5.2)."""
    return _DISCOUNTS[config.staleness](config, staleness)


def refl_weight(config: AsynchronyConfig, staleness: int, deviation: float) -> float:
    """Return s_k = (1 - beta) / (tau + 1) + beta (1 - exp(-Lambda_k / Lambda_max) / c) of REFL's public code.

    `deviation` is Lambda_k / Lambda_max, from 0 to 1. The code's Lambda_k is the relative squared distance between the
    mean change of the fresh updates with and without client k. The quotient is that of the squared distances between
    the clients' changes and the mean change of the fresh updates, because all other factors are equal.
    """
    beta = config.refl_beta
    return (1.0 - beta) / (staleness + 1) + beta * (1.0 - exp(-deviation) / config.refl_scale)


def restarted(contribution: Contribution, current: Tensor) -> Contribution:
    """The contribution of a client that makes the same change from `current`, the server's float32[D] model."""
    return _moved(contribution, contribution.start, current, 1.0)


def discounted(
    contribution: Contribution, current: Tensor, config: AsynchronyConfig, staleness: int
) -> Contribution:
    """The contribution, converted as if the client had started from `current`, the server's float32[D] model.

    A fresh update that is not mixed is returned unchanged, so that a buffer of fresh updates has bit for bit the same
    average as a synchronous round.
    """
    share = discount(config, staleness)
    mixed = config.kind == "fedasync"
    share *= config.mixing if mixed else 1.0
    if not contribution.has_model or contribution.start is None:
        return replace(contribution, weight=contribution.weight * share)
    if share == 1.0 and (mixed or staleness == 0):
        return contribution
    return _moved(contribution, current if mixed else contribution.start, current, share)


def _moved(contribution: Contribution, started: Tensor | None, current: Tensor, share: float) -> Contribution:
    """The contribution after a part of its change from float32[D] `started`, made from `current`."""
    if not contribution.has_model or started is None:
        return contribution
    if (entries := contribution.masked_entries()) is not None:
        sent = from_numpy(entries.values.astype("float64"))
        shifted = _shifted(sent, entries.take(started), entries.take(current), share)
        entries = replace(entries, values=shifted.to(float32).numpy())
        return replace(contribution, values=None, mask=None, entries=entries, start=current)
    assert contribution.values is not None
    shifted = _shifted(contribution.values, started, current, share)
    return replace(contribution, values=shifted.to(float32), start=current)


def _shifted(values: Tensor, start: Tensor, current: Tensor, share: float) -> Tensor:
    """float64[n]: the current model's values after a part of the client's change."""
    return current.to(float64) + share * (values.to(float64) - start.to(float64))
