"""Contributions for tests of robust rules, and the rules coordinate by coordinate in plain Python."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.config.robustness import AggregationConfig
from orchestrator.federation.aggregate import Aggregate, AggregationName, Contribution
from orchestrator.federation.robust.aggregator import RobustAggregator
from orchestrator.federation.robust.kept_updates import KeptUpdate
from orchestrator.sparsity.payload import Payload


def sent(
    values: Sequence[float],
    mask: Sequence[int] | None = None,
    *,
    weight: float = 1.0,
    client_id: int = 0,
    start: float = 0.0,
    items: Payload = (),
) -> Contribution:
    """A contribution with these values, which are 0 outside the mask; every client started from `start`."""
    held = None if mask is None else torch.tensor(mask, dtype=torch.bool)
    full = torch.tensor(values, dtype=torch.float32)
    return Contribution(
        client_id=client_id,
        weight=weight,
        values=full if held is None else full * held,
        mask=held,
        start=torch.full((len(values),), start),
        items=items,
    )


def kept(*contributions: Contribution) -> list[KeptUpdate]:
    """The contributions as an aggregator keeps them."""
    return [KeptUpdate.of(one, as_change=False) for one in contributions]


def combined(
    config: AggregationConfig,
    contributions: Sequence[Contribution],
    *,
    average: AggregationName = "covmean",
    server: Tensor | None = None,
) -> Aggregate:
    """The contributions combined by a rule; the server's model is 0 without `server`."""
    aggregator = RobustAggregator(config, average)
    for one in contributions:
        aggregator.add(one)
    assert contributions[0].start is not None
    return aggregator.finish(torch.zeros_like(contributions[0].start) if server is None else server)
