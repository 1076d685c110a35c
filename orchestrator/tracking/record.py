"""The data that trackers get: a record for each round, and a description of the run."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

from orchestrator.errors import CheckpointError
from orchestrator.tracking.presentation.run_page import Description, TrackedDataset

#: prefixes of the metrics that an evaluation measures
_EVALUATION_PREFIXES = ("eval/", "validation/", "personal/", "trained/", "finetuned/")


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The metrics of one committed round; `timestamp_ms` is Unix time at the commit."""

    round_idx: int
    timestamp_ms: int
    metrics: dict[str, float]

    def to_line(self) -> str:
        """Return one line of JSON without its newline; floats keep all bits, and may be NaN or Infinity."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str | bytes) -> "RoundRecord":
        """Inverse of `to_line`. Raises ValueError when the line is not a valid record."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.keys() != {"round_idx", "timestamp_ms", "metrics"}:
            raise ValueError("not an object with round_idx, timestamp_ms and metrics")
        round_idx, timestamp_ms, metrics = fields["round_idx"], fields["timestamp_ms"], fields["metrics"]
        if type(round_idx) is not int or type(timestamp_ms) is not int or not isinstance(metrics, dict):
            raise ValueError("round_idx and timestamp_ms are whole numbers, metrics an object")
        if not all(type(value) in (int, float) for value in metrics.values()):
            raise ValueError("a metric is not a number")
        return cls(round_idx, timestamp_ms, {name: float(value) for name, value in metrics.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The description of a run that a tracker gets when the run starts or resumes.

    `run_dir` is the run's folder, which contains `metrics.jsonl`; `run_id` is the name of this folder.
    `artifact_root` is the artifact folder of an experiment that the tracker creates in a SQLite store (None:
    `mlartifacts` next to the database); a server chooses its own. `params` is the resolved config with dotted keys.
    `tags` may contain MLflow's own names (`mlflow.user`, `mlflow.parentRunId`). `flush_timeout_s` is how long `close`
    waits for an unreachable server. `resumption` is the command that delivers the rest later (None:
    `sparsefleet resume` of the run). `texts` are further artifacts: name -> content. `model_name` is the name of the
    logged model. With `system_metrics`, the tracker logs the use of its machine.
    """

    run_id: str
    run_dir: str
    uri: str
    experiment: str
    artifact_root: str | None
    run_name: str
    params: dict[str, str]
    tags: dict[str, str]
    flush_timeout_s: float
    resumption: str | None = None
    description: Description = field(default_factory=lambda: Description(settings={}))
    datasets: tuple[TrackedDataset, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    model_name: str = "model"
    system_metrics: bool = False


def read_records(path: Path, start: int = 0) -> list[RoundRecord]:
    """Read the records of a `metrics.jsonl` from line `start` (0-based) on; none when there is no file.

    A last line without a newline is still being written, so the function ignores it. For any other line that is not a
    record, the function raises CheckpointError with the number of the line (1-based).
    """
    return [_parse(path, number, line) for number, line in enumerate(complete_lines(path)[start:], start + 1)]


@final
class RecordTail:
    """Reads a growing `metrics.jsonl` without reading earlier lines again, unless the file has become shorter."""

    def __init__(self, path: Path) -> None:
        self._path, self._num_skipped, self._offset = path, 0, 0

    def read(self, start: int) -> list[RoundRecord]:
        """Return the records from line `start` on; `start` must not decrease from call to call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(max(0, self._offset - 1))
            if self._offset and file.read(1) != b"\n":
                self._num_skipped = self._offset = 0
            file.seek(self._offset)
            while self._num_skipped < start and file.readline().endswith(b"\n"):
                self._num_skipped, self._offset = self._num_skipped + 1, file.tell()
            file.seek(self._offset)
            lines = file.read().split(b"\n")[:-1]
        first = start - self._num_skipped
        return [_parse(self._path, n, line) for n, line in enumerate(lines[first:], start + 1)]


def _parse(path: Path, number: int, line: bytes) -> RoundRecord:
    try:
        return RoundRecord.from_line(line)
    except ValueError as error:
        raise CheckpointError(f"{path}, line {number}: {error}") from error


def not_finite(record: RoundRecord) -> list[str]:
    """Return the names of the evaluation metrics that are NaN or infinite."""
    return [
        name
        for name, value in record.metrics.items()
        if name.startswith(_EVALUATION_PREFIXES) and not math.isfinite(value)
    ]


def committed_records(run_dir: Path) -> list[RoundRecord]:
    """Read the records of the committed rounds; a killed run may also have a line of a round that is not committed."""
    return read_records(run_dir / "metrics.jsonl")[: _num_committed(run_dir)]


def num_final_records(run_dir: Path) -> int | None:
    """Return how many records of a folder will not change; None for all of them.

    A run's record is final when its round is committed. A sweep has no checkpoints, so that its records are final.
    """
    return _num_committed(run_dir) if (run_dir / "run.json").is_file() else None


def _num_committed(run_dir: Path) -> int:
    return sum(1 for _ in (run_dir / "commits").glob("round-*.json"))


def complete_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that end with a newline, without the newline; none when there is no file."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _client_statistics(name: str, what: str) -> dict[str, str]:
    return {
        f"{name}_mean": f"{what}: unweighted mean over clients",
        f"{name}_std": f"{what}: standard deviation over clients",
        f"{name}_p10": f"{what}: 10th percentile over clients",
        f"{name}_min": f"{what}: worst client",
    }


METRICS: dict[str, str] = {
    "eval/accuracy": "accuracy of the global model on the central test set, share in [0, 1]",
    "eval/loss": "mean cross-entropy of the global model on the central test set, nats",
    **_client_statistics("eval/client_accuracy", "global model on each client's own test part"),
    "validation/accuracy": "accuracy of the global model on all clients' validation samples, share in [0, 1]",
    "validation/loss": "mean cross-entropy of the global model on all clients' validation samples, nats",
    "validation/best_round": "round with the best validation accuracy until now, by the clients' own models if the "
    "method has them",
    "validation/num_stale": "evaluations since the validation accuracy last increased by training.stop.min_delta",
    **_client_statistics(
        "validation/personal_accuracy",
        "the model that each client uses after the round, on the client's validation part",
    ),
    **_client_statistics(
        "personal/accuracy",
        "the model that each client uses after the round (personal, submodel or global) on the client's test part",
    ),
    **_client_statistics(
        "personal/central_accuracy",
        "the model that each client uses after the round (personal, submodel or global) on the central test set",
    ),
    **{
        metric: text
        for data, where in (
            ("accuracy", "their own test parts"),
            ("central_accuracy", "the central test set"),
        )
        for metric, text in {
            **_client_statistics(
                f"trained/{data}",
                "this round's participants right after local training, before the server's step, on " + where,
            ),
            **_client_statistics(
                f"finetuned/{data}",
                "each client's final model after evaluation.finetune_epochs more epochs, on " + where,
            ),
        }.items()
    },
    **{
        metric: text
        for name, what in (
            ("eval/unseen_accuracy", "global model on the test part of each client that never trains"),
            (
                "personal/unseen_accuracy",
                "the model that a client that never trains would use (global, or after its own adaptation), on its "
                "test part",
            ),
            (
                "finetuned/unseen_accuracy",
                "the same model after evaluation.finetune_epochs more epochs, on the client's test part",
            ),
        )
        for metric, text in _client_statistics(name, what).items()
    },
    "comm/upload_bytes": "encoded bytes from all clients to the server in the round",
    "comm/upload_bytes_total": "encoded bytes from clients to the server, this round and before",
    "comm/download_bytes": "encoded bytes from the server to all clients in the round",
    "comm/download_bytes_total": "encoded bytes from the server to clients, this round and before",
    "compute/train_flops": "training FLOPs of all clients in the round, masked weights not counted",
    "compute/train_flops_total": "training FLOPs, masked weights not counted, this round and before",
    "compute/train_flops_dense": "training FLOPs of all clients in the round, as if no weight were masked",
    "compute/train_flops_dense_total": "training FLOPs as if no weight were masked, this round and before",
    "time/emulated_s": "emulated time of the round on the clients' devices, seconds",
    "time/emulated_s_total": "emulated time on the clients' devices, this round and before, seconds",
    "time/compute_s": "emulated time that all clients' devices computed in the round, seconds",
    "time/compute_s_total": "emulated time that all clients' devices computed, this round and before, seconds",
    "time/compute_ideal_s": "time/compute_s if a mask saved time in proportion to its FLOPs, seconds",
    "time/compute_ideal_s_total": "time/compute_ideal_s, this round and before, seconds",
    "time/waited_s": "part of time/emulated_s in which no client was available, seconds",
    "time/wall_s": "time the round took on this machine, seconds",
    "time/wall_s_total": "time on this machine, this round and before, seconds",
    **{
        f"time/driver_{activity}_s": f"time in which the driver {text} since the last record, seconds (profile)"
        for activity, text in {
            "submit": "sampled clients, encoded and submitted tasks",
            "wait": "waited for clients",
            "decode": "decoded and checked updates",
            "fold": "folded updates",
            "step": "took the server step",
            "evaluate": "evaluated the global model",
            "checkpoint": "wrote the checkpoint",
            "other": "did anything else",
        }.items()
    },
    **{
        f"time/client_{stage}_s": f"time in which clients' processes {text}, sum over processes, seconds (profile)"
        for stage, text in {
            "decode": "decoded messages",
            "train": "trained",
            "score": "scored models",
            "encode": "encoded updates",
            "idle": "ran no task, including the transport of messages",
        }.items()
    },
    "train/loss": "mean training loss over the clients' samples during local training",
    "sparsity/density": "share of maskable weights of the global model that are kept, in (0, 1]",
    "sparsity/client_density": "share of maskable weights in a client's update, weighted mean over clients",
    "sparsity/union": "share of maskable weights that at least one client kept, before the server pruned",
    "sparsity/new_survivors": "share of maskable weights that are active after the round and were inactive before",
    "sparsity/removed": "share of maskable weights that clients kept and the server pruned",
    "fleet/stragglers": "clients whose update arrived after fleet.deadline_s (used later if fleet.late=keep)",
    "fleet/in_flight": "clients that were still training when the round ended; a later round may use their updates",
    "fleet/surplus": "clients whose update arrived after enough other updates (fleet.over_selection)",
    "fleet/vanished": "clients whose device left before the update arrived",
    "fleet/stale": "clients whose update is staler than asynchrony.max_staleness, so the server did not use it",
    "fleet/staleness_mean": "server steps from sending the model to using the update, mean over updates",
    "fleet/staleness_max": "server steps from sending the model to using the update, maximum over updates",
    "privacy/epsilon": "epsilon at privacy.delta of all rounds so far, for one client with other samples",
    "sparsity/mask_change": "share of maskable weights whose mask entry changed in the round",
    "fleet/participants": "clients whose update was used in the round",
    "fleet/failures": "client tasks that failed in the round",
    "fleet/failures_total": "client tasks that failed, this round and before",
}
