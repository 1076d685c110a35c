"""The accuracy of each client in the last evaluation: `client_scores.json` in a run's folder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import final

from orchestrator.atomic_write import explained_write, replace_file
from orchestrator.storage.checkpoints.checkpoint_store import name_round_in_errors

CLIENT_SCORES = "client_scores.json"


@final
class ClientScores:
    """Accuracies by metric and client; clients without samples have none."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[int, float]] = {}

    def add(self, metric: str, client_ids: Iterable[int], values: Iterable[float]) -> None:
        """Add the accuracies of several clients under one metric."""
        pairs = zip(client_ids, values, strict=True)
        self._scores.setdefault(metric, {}).update({int(client): float(value) for client, value in pairs})

    def add_client(self, client_id: int, scores: Mapping[str, float]) -> None:
        """Add all accuracies that one client measured."""
        for metric, value in scores.items():
            self.add(metric, (client_id,), (value,))

    def write(self, folder: Path, round_idx: int) -> None:
        """Replace the accuracies of the evaluation before; does nothing without accuracies.

        A metric that this evaluation does not have keeps its last accuracies: personal models may be scored less often.
        The file is not part of a checkpoint: a run that resumes before this evaluation writes the same file again.
        Raises CheckpointError when the file system rejects the write.
        """
        if not self._scores:
            return
        path = folder / CLIENT_SCORES
        scores = {**_earlier(path), **self._scores}
        with name_round_in_errors(round_idx), explained_write(path):
            replace_file(path, json.dumps({"round_idx": round_idx, "scores": scores}).encode())


def _earlier(path: Path) -> Mapping[str, Mapping[int, float]]:
    """The accuracies by metric of the file; none if there is no file that can be read."""
    try:
        scores = json.loads(path.read_bytes())["scores"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return scores if isinstance(scores, dict) else {}
