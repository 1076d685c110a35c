"""The state of delivery to a tracking server: `tracking.json` in the run's folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from orchestrator.atomic_write import replace_file
from orchestrator.errors import CheckpointError
from orchestrator.tracking.uris import canonical_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The MLflow run of a Sparsefleet run, and how much of the run is delivered.

    `delivery_id` is created once for each run folder and is a tag of the MLflow run. A process that does not know
    `mlflow_run_id` (None until saved) finds the MLflow run by this tag. `num_delivered` counts lines of
    `metrics.jsonl`. The store contains at least these lines; it contains more when the process died after it sent
    lines and before it saved this file. `model_sha256` is the digest of the last `model.safetensors` that was logged,
    None before the first. `ended` says that the store also has the summary, the artifacts and the final status.
    """

    uri: str
    experiment: str
    delivery_id: str
    mlflow_run_id: str | None = None
    num_delivered: int = 0
    model_sha256: str | None = None
    ended: bool = False

    @classmethod
    def open(cls, uri: str, experiment: str, run_dir: Path) -> "Delivery":
        """Load the state of delivery to this store and experiment, or save the state of a new delivery.

        A change of store or experiment starts a new delivery from the first line. `uri` is saved in the file, so it
        must contain no password. Raises CheckpointError when `tracking.json` is not valid.
        """
        saved = cls.load(run_dir)
        if saved is not None and (canonical_uri(saved.uri), saved.experiment) == (uri, experiment):
            return saved
        delivery = cls(
            uri=uri, experiment=experiment, delivery_id=saved.delivery_id if saved else uuid4().hex
        )
        delivery.save(run_dir)
        return delivery

    def save(self, run_dir: Path) -> None:
        """Write `tracking.json` atomically: a reader sees the old or the new file, also after a crash."""
        path = run_dir / "tracking.json"
        replace_file(path, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, run_dir: Path) -> "Delivery | None":
        """Load `tracking.json`; None when there is no file. Raises CheckpointError when the file is not valid."""
        path = run_dir / "tracking.json"
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: {error}; delete the file, and resume the run to deliver it again"
            ) from error
