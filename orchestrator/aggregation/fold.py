"""Folds the updates of one training or probe phase into their aggregate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from orchestrator.aggregation.phase_aggregator import average_of, phase_sums
from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.aggregation.sums import Sums, Term
from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.federation.privacy.noise import noisy_aggregate
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import SCORES, ClientFailure
from orchestrator.formatting import counted
from orchestrator.storage.checkpoints.client_memory import ClientMemory


@dataclass(frozen=True, eq=False, kw_only=True)
class PhaseResult:
    """The result of a phase: its aggregate, and what it cost.

    The phase took `seconds` of emulated time; for `waited_s` of them no client was available. `num_kept` late updates
    have not arrived yet and count in a later round.
    """

    aggregate: Aggregate
    seconds: float
    events: Sequence[ClientEvent]
    failures: Sequence[ClientFailure]
    trained_scores: Sequence[Mapping[str, float]]
    num_kept: int = 0
    waited_s: float = 0.0


class Fold:
    """Adds updates one by one, in the order in which they count, and then finishes once."""

    def __init__(
        self, experiment: Experiment, round_idx: int, memory: ClientMemory, sums: Sums | None = None
    ) -> None:
        """`sums` None: add the updates in this process."""
        self._experiment, self._algorithm = experiment, experiment.algorithm
        self._round_idx, self._memory = round_idx, memory
        self._sums = sums or phase_sums(experiment)
        self.events: list[ClientEvent] = []
        self.failures: list[ClientFailure] = []
        self._trained_scores: list[Mapping[str, float]] = []
        self.num_used = 0
        self.num_kept = 0

    def note_download(self, update: ReceivedUpdate) -> None:
        """Store that the client has the mask of its broadcast, whatever happens to its update."""
        if update.mask_digest is not None and update.is_downloaded:
            self._memory.store_mask(self._round_idx, update.client_id, update.mask_digest)

    def add(self, update: ReceivedUpdate, outcome: EventOutcome, present: Tensor | None = None) -> None:
        """Account for an update and, with outcome "used", fold it and store the client's state.

        `present` is the server's float32[D] model. Phases that may receive updates of earlier rounds need it: such
        updates fold as federation/staleness.py says.
        """
        staleness = self._round_idx - update.event.round_idx
        event = replace(update.event, round_idx=self._round_idx, outcome=outcome, staleness=staleness)
        self.events.append(event)
        if outcome != "used":
            return
        if event.kind != "loss":
            self._memory.store_state(self._round_idx, update.client_id, update.sent.client_state)
        self._trained_scores.append({name: x for name, x in update.sent.metrics.items() if name in SCORES})
        self.num_used += 1
        asynchrony = self._experiment.config.asynchrony
        is_uniform = asynchrony.kind != "none" and asynchrony.weight == "uniform"
        is_uniform |= self._experiment.config.privacy.has_noise
        weight = 1.0 if is_uniform else self._algorithm.weight(update.sent.num_examples)
        if asynchrony.kind == "fedasync" and not update.has_model:
            name = self._experiment.config.algorithm.name
            raise RoundError(
                f"asynchrony.kind=fedasync mixes models, but clients of {name} send no models; use fedbuff",
                round_idx=self._round_idx,
            )
        term = Term(client_id=update.client_id, weight=weight, staleness=staleness)
        self._sums.add(update.content, term, present)

    def finish(self, server: Tensor, seconds: float, *, waited_s: float = 0.0) -> PhaseResult:
        """The result; coordinates that no client trained keep the values of the server's float32[D] model.

        Raises RoundError when fewer updates count than `runtime.min_clients`, or none of them has a weight.
        """
        config = self._experiment.config
        if self.num_used < (least := config.runtime.min_clients):
            updates = "1 usable update" if self.num_used == 1 else f"{self.num_used} usable updates"
            problem = f"round {self._round_idx} ended with {updates}, fewer than runtime.min_clients={least}"
            raise RoundError(
                f"{problem}: {self._causes()}",
                round_idx=self._round_idx,
                num_updates=self.num_used,
            )
        try:
            aggregate = self._with_noise(self._sums.finish(server))
        except ValueError as error:
            raise RoundError(f"round {self._round_idx}: {error}", round_idx=self._round_idx) from error
        self.failures += [
            ClientFailure(
                round_idx=self._round_idx, position=-1, client_id=-1, stage="aggregator", cause=cause
            )
            for cause in self._sums.losses()
        ]
        return PhaseResult(
            aggregate=aggregate,
            seconds=seconds,
            events=self.events,
            failures=self.failures,
            trained_scores=self._trained_scores,
            num_kept=self.num_kept,
            waited_s=waited_s,
        )

    def _with_noise(self, aggregate: Aggregate) -> Aggregate:
        """The aggregate of the round with the noise of differential privacy, if configured."""
        experiment, privacy = self._experiment, self._experiment.config.privacy
        if not privacy.has_noise:
            return aggregate
        assert privacy.clip_norm is not None
        rng = stream(experiment.config.seed, "server", self._round_idx, "privacy")
        deviation = privacy.noise_multiplier * privacy.clip_norm
        return noisy_aggregate(aggregate, average_of(experiment), deviation, rng)

    def _causes(self) -> str:
        deadline_s = self._experiment.config.fleet.deadline_s
        causes = [str(failure) for failure in self.failures[:3]]
        if num_vanished := sum(event.outcome == "vanished" for event in self.events):
            causes.append(f"{counted(num_vanished, 'device')} dropped out")
        elif not causes:
            other = "other " if self.num_used else ""
            late = f"no {other}update arrived within fleet.deadline_s={deadline_s}"
            causes.append(f"no {other}client was available" if deadline_s is None else late)
        return "; ".join(causes)
