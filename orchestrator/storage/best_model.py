"""The global model of a run's best round: `best_model/round-NNNNNN` in the run's folder, in the files of `model/`."""

import shutil
from pathlib import Path
from typing import final

from torch import Tensor

from orchestrator.experiment.experiment import Experiment
from orchestrator.storage.best_round import BestRound
from orchestrator.storage.export import export_model
from orchestrator.tracking.record import read_records

BEST_MODEL = "best_model"


@final
class BestModel:
    """Finds the best round by validation data, and keeps its global model.

    The model of a round is written before the round's checkpoint, and the model before is deleted after it. So a run
    that is killed in between keeps the model that its last checkpoint names.
    """

    def __init__(self, experiment: Experiment, folder: Path, num_rounds: int) -> None:
        """`num_rounds` are the committed rounds of the run in `folder`, whose records say which round is the best."""
        training = experiment.config.training
        self._experiment, self._folder = experiment, folder
        self._patience = training.stop.patience
        self.is_kept = training.keep_best or self._patience is not None
        start = BestRound(min_delta=training.stop.min_delta, personal=experiment.algorithm.has_client_models)
        records = read_records(folder / "metrics.jsonl")[:num_rounds] if self.is_kept else []
        self._best = self._before = start.after_all(records)

    @property
    def decides(self) -> bool:
        """Whether the scores of a round decide if another round follows."""
        return self._patience is not None

    @property
    def stops(self) -> bool:
        """Whether the run ends, because its score has not improved for too long."""
        return self._patience is not None and self._best.num_stale >= self._patience

    def add(self, round_idx: int, metrics: dict[str, float], params: Tensor) -> dict[str, float]:
        """Compare a round that is not committed yet, keep its float32[D] `params` if it is the best, return metrics."""
        if not self.is_kept:
            return {}
        self._before, self._best = self._best, self._best.after(round_idx, metrics)
        if self._best is self._before:
            return {}
        if self._best.round_idx == round_idx:
            export_model(self._experiment, params, best_model_folder(self._folder, round_idx))
        return self._best.metrics()

    def committed(self) -> None:
        """Delete the models of rounds that are not the best, neither now nor one round ago.

        A damaged checkpoint makes a run continue from the checkpoint before.
        """
        if self.is_kept:
            self._delete_except({self._best.round_idx, self._before.round_idx})

    def finish(self) -> None:
        """Delete all other models at the end of the run."""
        if self.is_kept:
            self._delete_except({self._best.round_idx})

    def _delete_except(self, rounds: set[int]) -> None:
        kept = {best_model_folder(self._folder, round_idx) for round_idx in rounds}
        for folder in (self._folder / BEST_MODEL).glob("round-*"):
            if folder not in kept:
                shutil.rmtree(folder)


def best_model_folder(run_dir: Path, round_idx: int) -> Path:
    """The folder of the global model after a round, in a run's folder."""
    return run_dir / BEST_MODEL / f"round-{round_idx:06d}"
