"""The best round of a run by validation data, and how long it has been the best.

Test data choose nothing here. The driver writes two metrics into each evaluated round's record. All other readers, such
as summaries, need only these metrics.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import final

from orchestrator.config.training import StopConfig
from orchestrator.formatting import counted
from orchestrator.tracking.record import RoundRecord

BEST_ROUND, NUM_STALE = "validation/best_round", "validation/num_stale"


def validation_score(metrics: Mapping[str, float], *, personal: bool) -> float | None:
    """The score by which rounds are compared, higher is better; None for a round that did not measure it.

    `personal` scores the clients' own models instead of the global model.
    """
    return metrics.get("validation/personal_accuracy_mean" if personal else "validation/accuracy")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BestRound:
    """The best round until now.

    - `round_idx`: the first round with the highest score; -1 before the first score.
    - `reference`: the score that a later round must exceed by `min_delta` to count as an improvement.
    - `num_stale`: evaluations since the last improvement.
    """

    min_delta: float
    personal: bool
    round_idx: int = -1
    score: float = -inf
    reference: float = -inf
    num_stale: int = 0

    def after(self, round_idx: int, metrics: Mapping[str, float]) -> "BestRound":
        """The best round after one more round. A score that is not finite is no improvement."""
        score = validation_score(metrics, personal=self.personal)
        if score is None:
            return self
        score = score if isfinite(score) else -inf
        improves = score > self.reference and score >= self.reference + self.min_delta
        is_best = score > self.score or self.round_idx < 0
        return BestRound(
            min_delta=self.min_delta,
            personal=self.personal,
            round_idx=round_idx if is_best else self.round_idx,
            score=max(score, self.score),
            reference=score if improves else self.reference,
            num_stale=0 if improves else self.num_stale + 1,
        )

    def after_all(self, records: Iterable[RoundRecord]) -> "BestRound":
        """The best round after these further rounds."""
        best = self
        for record in records:
            best = best.after(record.round_idx, record.metrics)
        return best

    def metrics(self) -> dict[str, float]:
        """The metrics of an evaluated round; none before the first score."""
        if self.round_idx < 0:
            return {}
        return {BEST_ROUND: float(self.round_idx), NUM_STALE: float(self.num_stale)}


def best_record(records: Sequence[RoundRecord]) -> RoundRecord | None:
    """The record of the best round; None for a run that chooses none."""
    last = _last(records)
    return None if last is None else records[int(last.metrics[BEST_ROUND])]


def stop_reason(stop: StopConfig, records: Sequence[RoundRecord]) -> str | None:
    """Why a run with these records trains no further round, although it has fewer than `training.rounds`; None: it may.

    `records` are those of all committed rounds, in order.
    """
    last = _last(records)
    if stop.patience is None or last is None or last.metrics[NUM_STALE] < stop.patience:
        return None
    return (
        f"no better validation accuracy in {counted(int(last.metrics[NUM_STALE]), 'evaluation')} "
        f"(training.stop.patience={stop.patience}); the best round is {int(last.metrics[BEST_ROUND])}"
    )


def _last(records: Sequence[RoundRecord]) -> RoundRecord | None:
    return next((record for record in reversed(records) if BEST_ROUND in record.metrics), None)
