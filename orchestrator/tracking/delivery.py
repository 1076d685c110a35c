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
    None before the first; `best_sha256` is the same for the model of the best round. `ended` says that the store also
    has the summary, the artifacts and the final status.
    `folder` is the run's folder, by which a copy of the folder is recognised. `experiment_id` is the id of the
    experiment in the store, None before the run is opened. Files of old releases have neither.
    """

    uri: str
    experiment: str
    delivery_id: str
    mlflow_run_id: str | None = None
    num_delivered: int = 0
    model_sha256: str | None = None
    ended: bool = False
    folder: str = ""
    experiment_id: str | None = None
    best_sha256: str | None = None

    @classmethod
    def open(cls, uri: str, experiment: str, run_dir: Path) -> "Delivery":
        """Load the state of delivery to this store and experiment, or save the state of a new delivery.

        A change of store or experiment starts a new delivery from the first line. `uri` is saved in the file, so it
        must contain no password. In a copy of a folder, whose original still exists, a new delivery with another id
        starts. Raises CheckpointError when `tracking.json` is not valid.
        """
        saved = cls.load(run_dir)
        is_same_store = saved is not None and (canonical_uri(saved.uri), saved.experiment) == (
            uri,
            experiment,
        )
        if saved is None or (is_same_store and original_of_copy(run_dir) is not None):
            delivery = cls.new(uri, experiment, uuid4().hex, run_dir)
        elif is_same_store:
            return saved
        else:
            delivery = cls.new(uri, experiment, saved.delivery_id, run_dir)
        delivery.save(run_dir)
        return delivery

    @classmethod
    def new(cls, uri: str, experiment: str, delivery_id: str, run_dir: Path) -> "Delivery":
        """Return the state of a delivery that has not delivered anything."""
        return cls(uri=uri, experiment=experiment, delivery_id=delivery_id, folder=str(run_dir.resolve()))

    def is_of(self, run_dir: Path) -> bool:
        """Return whether this state was saved in this folder, and not in one that was moved or copied here."""
        return self.folder == str(run_dir.resolve())

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


def original_of_copy(run_dir: Path) -> Path | None:
    """Return the folder of which `run_dir` is a copy; None if it is no copy, or if the original does not exist."""
    saved = Delivery.load(run_dir)
    if saved is None or not saved.folder or saved.is_of(run_dir):
        return None
    original = Path(saved.folder)
    try:
        if original.samefile(run_dir):  # the same folder by another path
            return None
        found = Delivery.load(original)
    except (OSError, CheckpointError):
        return None
    return original if found is not None and found.delivery_id == saved.delivery_id else None
