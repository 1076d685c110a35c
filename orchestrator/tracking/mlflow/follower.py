"""Sends the content of a run's folder to its MLflow run, and saves the state of delivery."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, final
from uuid import uuid4

from orchestrator.errors import one_line
from orchestrator.tracking.artifacts import write_artifacts, write_first_artifacts
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.datasets import log_datasets
from orchestrator.tracking.mlflow.files import send_files
from orchestrator.tracking.mlflow.model import log_model
from orchestrator.tracking.mlflow.names import accepted_name
from orchestrator.tracking.mlflow.note import update_note
from orchestrator.tracking.mlflow.run import delete_duplicates, num_rounds, open_run
from orchestrator.tracking.mlflow.system_metrics import SystemMetrics
from orchestrator.tracking.presentation.metric_names import MetricPoints, final_metrics
from orchestrator.tracking.record import RecordTail, RoundRecord, RunInfo, num_final_records, read_records
from orchestrator.tracking.tracker import Status
from orchestrator.tracking.uris import public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)
_MAX_METRICS_PER_CALL = 1000


@final
class MlflowFollower:
    """Delivers one run. A method may raise any error of the client; the next call continues where it stopped.

    The follower keeps no metrics in memory: `metrics.jsonl` is the queue, and `tracking.json` the position in it. It
    sends a point twice only if the process ended after it sent the point and before it saved the position. A SQL store
    keeps one copy of equal points. A position that cannot be saved, for example on a full disk, stops no delivery.
    """

    def __init__(self, info: RunInfo, client_factory: Callable[[str], "MlflowClient"]) -> None:
        """Load the state of delivery, without opening the store. Raises CheckpointError for an invalid file."""
        self._info, self._client_factory = info, client_factory
        self._run_dir = Path(info.run_dir)
        self._start_time_ms = time.time_ns() // 1_000_000
        self._opened: tuple[MlflowClient, str] | None = None
        self.delivery = Delivery.open(public_uri(info.uri), info.experiment, self._run_dir)
        self._artifact_problems: list[str] = []
        self._tail = RecordTail(self._run_dir / "metrics.jsonl")
        self._sent_first_artifacts = False
        self._points = MetricPoints(earlier_names=False)
        self._system_metrics: SystemMetrics | None = None
        self._sent: set[str] = set()
        self._unsaved: OSError | None = None

    @property
    def problems(self) -> list[str]:
        """Faults that do not stop the delivery: artifacts that are missing, and a position that is not saved."""
        if self._unsaved is None:
            return self._artifact_problems
        unsaved = f"{self._run_dir / 'tracking.json'}: {one_line(self._unsaved)}; `resume` delivers some rounds again"
        return [*self._artifact_problems, unsaved]

    @property
    def progress(self) -> int:
        """A count that grows with each delivery."""
        return self.delivery.num_delivered + len(self._sent)

    def open(self) -> None:
        """Open the MLflow run; a run that was tracked before gets its earlier MLflow run. Later calls do nothing.

        A folder that was copied gets an MLflow run of its own, if the earlier one has more rounds than the folder.
        """
        if self._opened is None:
            client = self._client_factory(self._info.uri)
            self._adopt_folder(client)
            times = [self._start_time_ms, *(record.timestamp_ms for record in self._records()[:1])]
            run = open_run(client, self._info, self.delivery, min(times))
            opened = replace(
                self.delivery, mlflow_run_id=run.mlflow_run_id, experiment_id=run.experiment_id, ended=False
            )
            if not run.is_saved:
                opened = replace(opened, num_delivered=0, model_sha256=None)
            if opened != self.delivery:
                self._save(opened)
            self._points = MetricPoints(earlier_names=run.has_earlier_names)
            for line, record in enumerate(self._records()[: self.delivery.num_delivered]):
                list(self._points.of_line(line, record))
            self._opened = client, run.mlflow_run_id
            if self._info.system_metrics:
                self._system_metrics = SystemMetrics(self._info.uri, run.mlflow_run_id)

    def _adopt_folder(self, client: "MlflowClient") -> None:
        """Save that the delivery belongs to this folder, and start a new delivery in a copy."""
        saved = self.delivery
        if saved.is_of(self._run_dir):
            return
        adopted = replace(saved, folder=str(self._run_dir.resolve()))
        if saved.mlflow_run_id is not None and num_rounds(client, saved.mlflow_run_id) > len(self._records()):
            _LOG.warning(
                "%s: MLflow run %s has more rounds than this folder, so that the folder is a copy; it gets a run of "
                "its own",
                self._run_dir,
                saved.mlflow_run_id,
            )
            adopted = Delivery.new(saved.uri, saved.experiment, uuid4().hex, self._run_dir)
        self._save(adopted)

    def send_first_artifacts(self) -> None:
        """Send the data sets, and the artifacts that exist before the first round, once."""
        if not self._sent_first_artifacts:
            log_datasets(*self._connection, self._info.datasets)
            self._send_folder(lambda folder: write_first_artifacts(self._run_dir, folder, self._info.texts))
            self._sent_first_artifacts = True

    def send_records(self, last_committed: float) -> None:
        """Send the undelivered records up to round `last_committed`, but only of rounds that are committed."""
        from mlflow.entities import Metric

        client, mlflow_run_id = self._connection
        pending = self._tail.read(self.delivery.num_delivered)
        if (num_final := num_final_records(self._run_dir)) is not None:
            last_committed = min(last_committed, num_final - 1)
        for group in _groups(record for record in pending if record.round_idx <= last_committed):
            metrics = [
                Metric(accepted_name(name), value, timestamp_ms, round_idx)
                for line, record in enumerate(group, self.delivery.num_delivered)
                for name, value, timestamp_ms, round_idx in self._points.of_line(line, record)
            ]
            for start in range(0, len(metrics), _MAX_METRICS_PER_CALL):
                client.log_batch(mlflow_run_id, metrics=metrics[start : start + _MAX_METRICS_PER_CALL])
            self._save(replace(self.delivery, num_delivered=self.delivery.num_delivered + len(group)))

    def send_end(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Send summary, artifacts and model, then the status; the status also when one of the others fails."""
        client, mlflow_run_id = self._connection
        records = self._records()
        if self._system_metrics is not None:
            self._system_metrics.stop()
            self._system_metrics = None
        try:
            self._send_results(status, summary, records[-1] if records else None)
            self._send_files(summary, records[-1].round_idx if records else 0)
        finally:
            client.set_terminated(mlflow_run_id, status, records[-1].timestamp_ms if records else None)
        delete_duplicates(client, client.get_run(mlflow_run_id), self.delivery.delivery_id)
        self._save(replace(self.delivery, ended=True))

    def mark_killed(self) -> None:
        """Set the status of an MLflow run that is open, and nothing else. A resumed run delivers the rest."""
        if self._opened is not None and not self.delivery.ended:
            client, mlflow_run_id = self._opened
            client.set_terminated(mlflow_run_id, "KILLED")

    def _send_results(
        self, status: Status, summary: Mapping[str, float | int | str], last: RoundRecord | None
    ) -> None:
        """Send the summary's numbers as metrics of the last round, and the description with the result."""
        from mlflow.entities import Metric, RunTag

        client, mlflow_run_id = self._connection
        if last is not None and summary:
            sent = client.get_run(mlflow_run_id).data.metrics
            metrics = [
                Metric(accepted_name(name), value, last.timestamp_ms, last.round_idx)
                for name, value in final_metrics(summary, sent).items()
            ]
            best = [RunTag("best", str(summary["best"]))] if "best" in summary else []
            client.log_batch(mlflow_run_id, metrics=metrics, tags=best)
        update_note(client, self._info, mlflow_run_id, summary, status)

    def _send_files(self, summary: Mapping[str, float | int | str], step: int) -> None:
        self._send_folder(lambda folder: write_artifacts(self._run_dir, folder, summary))
        name, best_round = self._info.model_name, summary.get("best_round")
        if digest := self._send_model("model", step, self.delivery.model_sha256, name):
            self._save(replace(self.delivery, model_sha256=digest))
        if isinstance(best_round, int):
            folder = f"best_model/round-{best_round:06d}"
            if digest := self._send_model(folder, best_round, self.delivery.best_sha256, f"{name}-best"):
                self._save(replace(self.delivery, best_sha256=digest))

    def _send_model(self, folder: str, step: int, sent: str | None, name: str) -> str | None:
        """Log the model in a folder of the run, and return its digest; None if there is none, or `sent` is its digest.

        The last model may be the best one too. MLflow then has it once, under the name that it got first.
        """
        weights = self._run_dir / folder / "model.safetensors"
        if not weights.exists():
            return None
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest in (sent, self.delivery.model_sha256):
            return None
        client, mlflow_run_id = self._connection
        log_model(client, mlflow_run_id, weights.parent, digest, step, self._sent, name=name)
        return digest

    def _send_folder(self, write: Callable[[Path], list[str]]) -> None:
        client, mlflow_run_id = self._connection
        with TemporaryDirectory() as folder:
            problems = write(Path(folder))
            send_files(Path(folder), partial(client.log_artifact, mlflow_run_id), self._sent)
        self._artifact_problems += [problem for problem in problems if problem not in self._artifact_problems]

    @property
    def _connection(self) -> tuple["MlflowClient", str]:
        self.open()
        assert self._opened is not None
        return self._opened

    def _records(self) -> list[RoundRecord]:
        return read_records(self._run_dir / "metrics.jsonl")[: num_final_records(self._run_dir)]

    def _save(self, delivery: Delivery) -> None:
        self.delivery, self._unsaved = delivery, None
        try:
            delivery.save(self._run_dir)
        except OSError as error:
            self._unsaved = error


def _groups(records: Iterable[RoundRecord]) -> Iterator[list[RoundRecord]]:
    """Group records in order so that each group fits one call; a record that is too long forms its own group."""
    group: list[RoundRecord] = []
    num_metrics = 0
    for record in records:
        if group and num_metrics + len(record.metrics) > _MAX_METRICS_PER_CALL:
            yield group
            group, num_metrics = [], 0
        group.append(record)
        num_metrics += len(record.metrics)
    if group:
        yield group
