"""Weights late updates as REFL does (staleness-aware aggregation), when all updates of a round are known.

Abdelmoniem et al., "REFL", arXiv 2111.01108, and its public code. A fresh update arrives in the round in which its
client was sampled, and counts as usual. A late update counts as if the client had made its change from the current
model. Its weight is multiplied by `refl_weight`, which compares this change with the mean change of the fresh updates.

Deviations: the public code compares models, and this module compares changes inside the clients' masks. The deviation
is 0 without a fresh update, and for updates without a model.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from orchestrator.aggregation.received_update import Content, DecodedUpdate
from orchestrator.aggregation.sums import Term
from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.federation.aggregate import Aggregate, Aggregator, Contribution
from orchestrator.federation.robust.aggregator import RobustAggregator
from orchestrator.federation.staleness import refl_weight, restarted


@final
class ReflSums:
    """See Sums. Adds fresh updates at once, and late updates in their order when the round ends."""

    def __init__(self, aggregator: Aggregator | RobustAggregator, asynchrony: AsynchronyConfig) -> None:
        self._aggregator, self._asynchrony = aggregator, asynchrony
        self._late: list[tuple[Contribution, int]] = []
        self._fresh_change: Tensor | None = None
        self._fresh_weight = 0.0

    def add(self, content: Content, term: Term, present: Tensor | None) -> None:
        """See Sums. An update with `present` and a staleness above 0 is late."""
        assert isinstance(content, DecodedUpdate), "aggregators add no updates of a run with staleness=refl"
        contribution = content.contribution(term.client_id, term.weight)
        if present is not None and term.staleness:
            self._late.append((restarted(contribution, present), term.staleness))
            return
        self._aggregator.add(contribution)
        if (change := _change(contribution)) is not None:
            weighted = contribution.weight * change
            self._fresh_change = weighted if self._fresh_change is None else self._fresh_change + weighted
            self._fresh_weight += contribution.weight

    def finish(self, server: Tensor) -> Aggregate:
        """See Sums."""
        distances = [self._squared_distance(contribution) for contribution, _ in self._late]
        largest = max(distances, default=0.0)
        for (contribution, staleness), distance in zip(self._late, distances, strict=True):
            share = refl_weight(self._asynchrony, staleness, distance / largest if largest else 0.0)
            self._aggregator.add(replace(contribution, weight=contribution.weight * share))
        return self._aggregator.finish(server)

    def losses(self) -> Sequence[str]:
        """See Sums: this process is no aggregator."""
        return ()

    def _squared_distance(self, contribution: Contribution) -> float:
        """Squared distance between a client's change and the mean change of the fresh updates."""
        change = _change(contribution)
        if change is None or self._fresh_change is None or not self._fresh_weight:
            return 0.0
        return float(torch.sum((change - self._fresh_change / self._fresh_weight) ** 2))


def _change(contribution: Contribution) -> Tensor | None:
    """float64[D]: the client's change inside its mask, 0 elsewhere; None for an update without a model."""
    if contribution.start is None or not contribution.has_model:
        return None
    start = contribution.start.to(torch.float64)
    if (entries := contribution.masked_entries()) is not None:
        mask = entries.mask()
        return torch.where(mask, entries.full().to(torch.float64) - start, 0.0)
    assert contribution.values is not None
    return contribution.values.to(torch.float64) - start
