"""Where the updates of a phase are added: in the driver's process, or on aggregators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

from torch import Tensor

from orchestrator.aggregation.received_update import Content, DecodedUpdate
from orchestrator.config.rounds import AsynchronyConfig
from orchestrator.federation.aggregate import Aggregate, Aggregator
from orchestrator.federation.robust.aggregator import RobustAggregator
from orchestrator.federation.staleness import discounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """How an update counts: the weight of its client, and the number of server steps since its model was sent."""

    client_id: int
    weight: float
    staleness: int


class Sums(Protocol):
    """The sums of one phase. The driver calls `add` in the order in which updates count, then `finish` once."""

    def add(self, content: Content, term: Term, present: Tensor | None) -> None:
        """Add the content of an update.

        `present` is the server's float32[D] model; None in a phase that receives no update of an earlier round.
        """

    def finish(self, server: Tensor) -> Aggregate:
        """Return the average; coordinates that no client trained take the value of the float32[D] `server` model.

        Raises ValueError without an update of positive weight.
        """

    def losses(self) -> Sequence[str]:
        """Return why aggregators had to add their slices again: one line for each, since the last call."""


class Aggregators(Protocol):
    """Processes that add the updates of training and probe tasks, each for a slice of the model's coordinates."""

    def sums(self, round_idx: int) -> Sums:
        """Return the empty sums of a phase of this round. The sums of the phase before must have finished."""


@final
class LocalSums:
    """See Sums. Adds decoded updates in this process."""

    def __init__(self, aggregator: Aggregator | RobustAggregator, asynchrony: AsynchronyConfig) -> None:
        self._aggregator, self._asynchrony = aggregator, asynchrony

    def add(self, content: Content, term: Term, present: Tensor | None) -> None:
        """See Sums."""
        assert isinstance(content, DecodedUpdate), "aggregators add the stored updates"
        contribution = content.contribution(term.client_id, term.weight)
        if present is not None:
            contribution = discounted(contribution, present, self._asynchrony, term.staleness)
        self._aggregator.add(contribution)

    def finish(self, server: Tensor) -> Aggregate:
        """See Sums."""
        return self._aggregator.finish(server)

    def losses(self) -> Sequence[str]:
        """See Sums: this process is no aggregator."""
        return ()
