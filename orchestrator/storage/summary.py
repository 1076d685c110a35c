"""The result of a run as one JSON object with a fixed set of keys."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.storage.best_round import best_record, stop_reason
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord, not_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The result of a run.

    `accuracy`: of the global model on the central test set.
    `personal_accuracy`: unweighted mean over clients of the accuracy of each client's own model on its own test part.
    `validation_accuracy`: of the global model on all clients' validation samples.
    `validation_personal_accuracy`: like `personal_accuracy`, on the clients' validation parts.
    `unseen_accuracy`, `unseen_personal_accuracy`: means over the clients that never train (`fleet.unseen_clients`), of
    the global model and of the model that such a client would use, each on the client's test part.
    `best_round`: the round with the best validation accuracy, 0-based; `best_accuracy` and `best_personal_accuracy` are
    its `accuracy` and `personal_accuracy`. None unless `training.keep_best` or `training.stop.patience` is set.
    `stop_reason`: why the run ended before `training.rounds`; None for other runs.
    All other accuracies are from the last round that measured them; None when no round did.
    `params_sha256`: digest of the final global float32 parameter vector; None for a trial that its sweep stopped.
    `num_not_finite`: rounds whose evaluation gave NaN or infinity, for example because the model diverged.
    """

    run_id: str
    algorithm: str
    num_rounds: int
    accuracy: float | None
    personal_accuracy: float | None
    upload_bytes_total: int
    download_bytes_total: int
    train_flops_total: float
    emulated_s_total: float
    wall_s_total: float
    params_sha256: str | None
    num_failures: int
    interrupted: bool
    num_not_finite: int = 0
    validation_accuracy: float | None = None
    validation_personal_accuracy: float | None = None
    unseen_accuracy: float | None = None
    unseen_personal_accuracy: float | None = None
    best_round: int | None = None
    best_accuracy: float | None = None
    best_personal_accuracy: float | None = None
    stop_reason: str | None = None

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        store: RunStore,
        records: Sequence[RoundRecord],
        params_sha256: str | None,
        interrupted: bool,
    ) -> "RunSummary":
        """Summarise a run from its committed records."""
        totals = records[-1].metrics if records else {}
        best = best_record(records)
        return cls(
            run_id=store.run_id,
            algorithm=config.algorithm.name,
            num_rounds=len(records),
            accuracy=_last(records, "eval/accuracy"),
            personal_accuracy=_last(records, "personal/accuracy_mean"),
            upload_bytes_total=int(totals.get("comm/upload_bytes_total", 0)),
            download_bytes_total=int(totals.get("comm/download_bytes_total", 0)),
            train_flops_total=totals.get("compute/train_flops_total", 0.0),
            emulated_s_total=totals.get("time/emulated_s_total", 0.0),
            wall_s_total=totals.get("time/wall_s_total", 0.0),
            params_sha256=params_sha256,
            num_failures=int(totals.get("fleet/failures_total", 0)),
            interrupted=interrupted,
            num_not_finite=sum(1 for record in records if not_finite(record)),
            validation_accuracy=_last(records, "validation/accuracy"),
            validation_personal_accuracy=_last(records, "validation/personal_accuracy_mean"),
            unseen_accuracy=_last(records, "eval/unseen_accuracy_mean"),
            unseen_personal_accuracy=_last(records, "personal/unseen_accuracy_mean"),
            best_round=None if best is None else best.round_idx,
            best_accuracy=None if best is None else best.metrics.get("eval/accuracy"),
            best_personal_accuracy=None if best is None else best.metrics.get("personal/accuracy_mean"),
            stop_reason=stop_reason(config.training.stop, records) if _is_early(config, records) else None,
        )

    @classmethod
    def read(cls, path: Path) -> "RunSummary":
        """Read a summary file. Raises CheckpointError when the file contains no summary."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path} contains no summary ({error}); delete the file, then resume the run"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return a dict in the order of the fields, without fields that a subclass adds."""
        return {field.name: getattr(self, field.name) for field in fields(RunSummary)}

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), indent=2)


def _is_early(config: ExperimentConfig, records: Sequence[RoundRecord]) -> bool:
    return len(records) < config.training.rounds


def _last(records: Sequence[RoundRecord], metric: str) -> float | None:
    return next((r.metrics[metric] for r in reversed(records) if metric in r.metrics), None)
