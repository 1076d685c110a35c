"""How far a tracking server has followed a run: `tracking.json` in the run's folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from orchestrator.errors import CheckpointError
from orchestrator.storage.atomic_write import replace_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The MLflow run that follows ours, and what it holds.

    `delivery_id` is made once for a run's folder and marks its MLflow run, so that it is found again by a
    process that does not know `mlflow_run_id` (None until noted). `num_delivered` counts lines of
    `metrics.jsonl`; the store may hold more (sent, but the process died before it noted that), never fewer.
    `model_sha256` is the digest of the last `model.safetensors` that was logged, None before the first. `ended`
    says that summary, artifacts and final status are there too.
    """

    uri: str
    experiment: str
    delivery_id: str
    mlflow_run_id: str | None = None
    num_delivered: int = 0
    model_sha256: str | None = None
    ended: bool = False

    @classmethod
    def to(cls, uri: str, experiment: str, run_dir: Path) -> "Delivery":
        """What is noted about this store (`uri` is kept in the file: give it without a password).

        Nothing has been delivered yet to a store or an experiment other than the last one. Raises
        CheckpointError for a file that is not one of ours.
        """
        noted = cls.noted(run_dir)
        if noted is not None and (noted.uri, noted.experiment) == (uri, experiment):
            return noted
        delivery = cls(
            uri=uri, experiment=experiment, delivery_id=noted.delivery_id if noted else uuid4().hex
        )
        delivery.save(run_dir)
        return delivery

    def save(self, run_dir: Path) -> None:
        """Write `tracking.json` so that a reader sees the old or the new one, also after a crash."""
        path = run_dir / "tracking.json"
        replace_file(path, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def noted(cls, run_dir: Path) -> "Delivery | None":
        """What the folder's `tracking.json` says, None where there is none. Raises CheckpointError for another file."""
        path = run_dir / "tracking.json"
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: {error}; delete it, and the run is delivered anew") from error
