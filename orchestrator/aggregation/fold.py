"""The fold of one training or probe phase: its aggregate, its events, and what its participants now hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from orchestrator.aggregation.arrival import Arrival
from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.federation.staleness import discounted
from orchestrator.federation.update import SCORES, ClientFailure


@dataclass(frozen=True, eq=False, kw_only=True)
class PhaseResult:
    """A phase that is over: what its updates came to, the emulated seconds it took, and what clients now hold.

    `num_kept` late updates are still on their way; for `waited_s` of the seconds no client was there to be asked.
    """

    aggregate: Aggregate
    seconds: float
    events: Sequence[ClientEvent]
    failures: Sequence[ClientFailure]
    client_states: Mapping[int, Any]
    shared_masks: Mapping[int, str]
    trained_scores: Sequence[Mapping[str, float]]
    num_kept: int = 0
    waited_s: float = 0.0


class Fold:
    """Takes arrivals one by one, in the order in which they fold; then `finish` once."""

    def __init__(self, experiment: Experiment, round_idx: int, known: Mapping[int, Any]) -> None:
        """`known` has the clients that keep a state."""
        self._experiment, self._algorithm = experiment, experiment.algorithm
        self._round_idx, self._known = round_idx, known
        self._aggregator = self._algorithm.aggregator()
        self.events: list[ClientEvent] = []
        self.failures: list[ClientFailure] = []
        self.client_states: dict[int, Any] = {}
        self.shared_masks: dict[int, str] = {}
        self._trained_scores: list[Mapping[str, float]] = []
        self.num_used = 0
        self.num_kept = 0

    def received(self, arrival: Arrival) -> None:
        """Note that the client has the mask that came with its message, whatever becomes of its update."""
        if arrival.mask_digest is not None and arrival.is_downloaded:
            self.shared_masks[arrival.event.client_id] = arrival.mask_digest

    def take(self, arrival: Arrival, fate: EventOutcome, present: Tensor | None = None) -> None:
        """Account for an update and, if it is used, fold it; `present` is the server's float32[D] model.

        The model is needed where updates of earlier rounds may come, which fold as federation/staleness.py says.
        """
        staleness = self._round_idx - arrival.event.round_idx
        event = replace(arrival.event, round_idx=self._round_idx, outcome=fate, staleness=staleness)
        self.events.append(event)
        if fate != "used":
            return
        sent, asynchrony = arrival.decoded.sent, self._experiment.config.asynchrony
        keeps = sent.client_id in self.client_states or sent.client_id in self._known
        if event.kind != "loss" and (keeps or sent.client_state is not None):
            self.client_states[sent.client_id] = sent.client_state
        self._trained_scores.append({name: x for name, x in sent.metrics.items() if name in SCORES})
        self.num_used += 1
        alike = asynchrony.kind != "none" and asynchrony.weight == "uniform"
        contribution = arrival.decoded.contribution(
            1.0 if alike else self._algorithm.weight(sent.num_examples)
        )
        if asynchrony.kind == "fedasync" and contribution.values is None:
            name = self._experiment.config.algorithm.name
            raise RoundError(f"asynchrony.kind=fedasync mixes models, and {name} sends none; use fedbuff")
        if present is not None:
            contribution = discounted(contribution, present, asynchrony, staleness)
        self._aggregator.add(contribution)

    def finish(self, server: Tensor, seconds: float, *, waited_s: float = 0.0) -> PhaseResult:
        """The aggregate, with the server's float32[D] model where it applies.

        Raises RoundError when fewer updates were used than the failure policy wants.
        """
        config = self._experiment.config
        if self.num_used < (least := config.runtime.min_clients):
            raise RoundError(
                f"round {self._round_idx} has {self.num_used} updates, runtime.min_clients={least}: {self._causes()}"
            )
        return PhaseResult(
            aggregate=self._aggregator.finish(server),
            seconds=seconds,
            events=self.events,
            failures=self.failures,
            client_states=self.client_states,
            shared_masks=self.shared_masks,
            trained_scores=self._trained_scores,
            num_kept=self.num_kept,
            waited_s=waited_s,
        )

    def _causes(self) -> str:
        deadline_s = self._experiment.config.fleet.deadline_s
        causes = [str(failure) for failure in self.failures[:3]]
        if num_vanished := sum(event.outcome == "vanished" for event in self.events):
            causes.append(f"{num_vanished} of the devices vanished")
        elif not causes:
            other = "other " if self.num_used else ""
            late = f"no {other}update came within fleet.deadline_s={deadline_s}"
            causes.append(f"no {other}client was there" if deadline_s is None else late)
        return "; ".join(causes)
