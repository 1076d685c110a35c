"""Computes from the events of a synchronous training phase when it ends, and the outcome of each update."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from orchestrator.aggregation.costs import phase_s
from orchestrator.federation.client_event import ClientEvent, EventOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """When a phase ends: `deadline_s` after its start (None: never), or after `needed` answers (None: all)."""

    deadline_s: float | None = None
    needed: int | None = None

    def ends_s(self, events: Sequence[ClientEvent]) -> float:
        """Emulated seconds that the phase takes.

        If fewer than `needed` clients answer in time, the phase ends at the deadline, or else with the last event. The
        server notices at once when a device drops out.
        """
        limit_s = inf if self.deadline_s is None else self.deadline_s
        answers = sorted(e.total_s for e in events if e.outcome != "vanished" and e.total_s <= limit_s)
        if self.needed is not None and len(answers) >= self.needed:
            return answers[self.needed - 1]
        if self.deadline_s is not None and len(answers) < len(events):
            return self.deadline_s
        return phase_s(events)

    def outcomes(self, events: Sequence[ClientEvent]) -> list[EventOutcome]:
        """The outcome of each update. Of updates that arrive at the same moment, those planned first count first.

        If enough clients have answered, the other updates are surplus and not late.
        """
        limit_s = inf if self.deadline_s is None else self.deadline_s
        in_time = [i for i, e in enumerate(events) if e.outcome != "vanished" and e.total_s <= limit_s]
        used = set(sorted(in_time, key=lambda i: (events[i].total_s, i))[: self.needed])
        enough = self.needed is not None and len(in_time) >= self.needed
        outcomes: list[EventOutcome] = []
        for i, event in enumerate(events):
            missed: EventOutcome = "surplus" if enough else "late"
            gone: EventOutcome = "vanished" if event.outcome == "vanished" else missed
            outcomes.append("used" if i in used else gone)
        return outcomes
