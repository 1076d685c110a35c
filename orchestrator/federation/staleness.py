"""Updates that began at an older model: how far they count, and how they fold into the present one.

    fedbuff    x = w + s(tau) (w_k - w_k0)            FedBuff, Nguyen et al., arXiv 2106.06639
    fedasync   x = w + alpha s(tau) (w_k - w)         FedAsync, Xie et al., arXiv 1903.03934

w is the present model, w_k0 what the client began with, w_k what it trained, tau the server's steps between the two.
Both hold on the entries that the client's own mask has; the method's aggregator then averages x as if it had been
trained from w. The discount of an update without a model is its weight, which counts among others of its buffer only.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import Tensor, float32, float64

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


def discounted(
    contribution: Contribution, present: Tensor, config: AsynchronyConfig, staleness: int
) -> Contribution:
    """The contribution as one that was trained from `present`, the server's float32[D] model.

    An update that is not stale and not mixed comes back as it is, so that buffers of fresh updates average bit for
    bit as a synchronous round does.
    """
    share = discount(config, staleness)
    mixed = config.kind == "fedasync"
    share *= config.mixing if mixed else 1.0
    if contribution.values is None or contribution.start is None:
        return replace(contribution, weight=contribution.weight * share)
    if share == 1.0 and (mixed or staleness == 0):
        return contribution
    values, now = contribution.values.to(float64), present.to(float64)
    begun = now if mixed else contribution.start.to(float64)
    moved = now + share * (values - begun)
    if contribution.mask is not None:
        moved = moved * contribution.mask
    return replace(contribution, values=moved.to(float32), start=present)
