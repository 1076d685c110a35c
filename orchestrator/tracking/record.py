"""What is tracked: one record a round, and what a tracking server is told about a run."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from orchestrator.errors import CheckpointError

#: how the names of what an evaluation measures begin
_EVALUATION = ("eval/", "personal/", "trained/", "finetuned/")


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The metrics of one committed round; `timestamp_ms` is Unix time at the commit."""

    round_idx: int
    timestamp_ms: int
    metrics: dict[str, float]

    def to_line(self) -> str:
        """One line of JSON without its newline; floats keep every bit, and may be NaN or Infinity."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str | bytes) -> "RoundRecord":
        """Inverse of `to_line`. Raises ValueError for anything that is not such a line."""
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
    """What a tracker is told when a run starts or resumes.

    `run_dir` is the run's own folder, which holds `metrics.jsonl`; `run_id` names that folder.
    `artifact_root` is where an experiment created in a SQLite store keeps its artifacts (None: `mlartifacts`
    beside the database); a server decides for itself. `params` is the resolved config, dotted. `tags` may
    hold MLflow's own names (`mlflow.user`, `mlflow.parentRunId`). `flush_timeout_s` is how long `close`
    waits for a server that is away. `resumption` is the command that delivers what did not arrive (None:
    `sparsefleet resume` of the run).
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


def read_records(path: Path, start: int = 0) -> list[RoundRecord]:
    """The records of a `metrics.jsonl` from line `start` (0-based) on; none when there is no file.

    A last line without a newline is one that was being written: it is left out. Raises CheckpointError,
    naming the line (1-based), for any other line that is not a record.
    """
    return [
        _parsed(path, number, line) for number, line in enumerate(complete_lines(path)[start:], start + 1)
    ]


@final
class RecordTail:
    """Follows a `metrics.jsonl` that grows: lines that were passed once are not read again, unless it was cut back."""

    def __init__(self, path: Path) -> None:
        self._path, self._num_passed, self._offset = path, 0, 0

    def read(self, start: int) -> list[RoundRecord]:
        """As `read_records`; `start` never falls."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(max(0, self._offset - 1))
            if self._offset and file.read(1) != b"\n":
                self._num_passed = self._offset = 0
            file.seek(self._offset)
            while self._num_passed < start and file.readline().endswith(b"\n"):
                self._num_passed, self._offset = self._num_passed + 1, file.tell()
            file.seek(self._offset)
            lines = file.read().split(b"\n")[:-1]
        skipped = start - self._num_passed
        return [_parsed(self._path, n, line) for n, line in enumerate(lines[skipped:], start + 1)]


def _parsed(path: Path, number: int, line: bytes) -> RoundRecord:
    try:
        return RoundRecord.from_line(line)
    except ValueError as error:
        raise CheckpointError(f"{path}, line {number}: {error}") from error


def not_finite(record: RoundRecord) -> list[str]:
    """The metrics of a round's evaluation that are NaN or infinite, by name."""
    return [
        name
        for name, value in record.metrics.items()
        if name.startswith(_EVALUATION) and not math.isfinite(value)
    ]


def committed_records(run_dir: Path) -> list[RoundRecord]:
    """The records of a run's committed rounds: a kill may leave a line of one that is not. Raises as `read_records`."""
    num_committed = sum(1 for _ in (run_dir / "commits").glob("round-*.json"))
    return read_records(run_dir / "metrics.jsonl")[:num_committed]


def complete_lines(path: Path) -> list[bytes]:
    """The lines of a file that end in a newline, without it; none when there is no file."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _spread(name: str, what: str) -> dict[str, str]:
    return {
        f"{name}_mean": f"{what}: unweighted mean over clients",
        f"{name}_std": f"{what}: standard deviation over clients",
        f"{name}_p10": f"{what}: 10th percentile over clients",
        f"{name}_min": f"{what}: worst client",
    }


METRICS: dict[str, str] = {
    "eval/accuracy": "global model on the central test set, share correct",
    "eval/loss": "global model on the central test set, mean cross-entropy in nats",
    **_spread("eval/client_accuracy", "global model on each client's own test part"),
    **_spread(
        "personal/accuracy",
        "what each client uses after the round (its own model, a submodel or the global one) on its own test part",
    ),
    **_spread(
        "personal/central_accuracy",
        "what each client uses after the round (its own model, a submodel or the global one) on the central test set",
    ),
    **{
        metric: text
        for data, where in (
            ("accuracy", "their own test parts"),
            ("central_accuracy", "the central test set"),
        )
        for metric, text in {
            **_spread(
                f"trained/{data}",
                "this round's participants right after local training, before the server's step, on " + where,
            ),
            **_spread(
                f"finetuned/{data}",
                "what clients use at the end, after evaluation.finetune_epochs more epochs, on " + where,
            ),
        }.items()
    },
    "comm/upload_bytes": "encoded bytes from all clients to the server in the round",
    "comm/upload_bytes_total": "encoded bytes from clients to the server, this round and before",
    "comm/download_bytes": "encoded bytes from the server to all clients in the round",
    "comm/download_bytes_total": "encoded bytes from the server to clients, this round and before",
    "compute/train_flops": "training FLOPs of all clients in the round, masked weights not counted",
    "compute/train_flops_total": "training FLOPs, masked weights not counted, this round and before",
    "compute/train_flops_dense": "training FLOPs of all clients in the round, as if no weight were masked",
    "compute/train_flops_dense_total": "training FLOPs as if no weight were masked, this round and before",
    "time/emulated_s": "virtual time the round takes on the emulated devices, seconds",
    "time/emulated_s_total": "virtual time on the emulated devices, this round and before, seconds",
    "time/waited_s": "share of time/emulated_s in which no client was there to be asked, seconds",
    "time/wall_s": "time the round took on this machine, seconds",
    "time/wall_s_total": "time on this machine, this round and before, seconds",
    "train/loss": "clients' models on their training samples while training: mean of the loss that they minimise",
    "sparsity/density": "share of maskable weights of the global model that are kept, in (0, 1]",
    "sparsity/client_density": "share of maskable weights counted in a client's update, mean weighted as updates are",
    "sparsity/union": "share of maskable weights that at least one client held, before the server pruned",
    "sparsity/new_survivors": "share of maskable weights that are active after the round and were not before",
    "sparsity/removed": "share of maskable weights that clients held and the server pruned",
    "fleet/stragglers": "clients whose update came after fleet.deadline_s: lost, or kept for the round it arrives in",
    "fleet/in_flight": "clients at work when the round ended, whose updates may count later",
    "fleet/surplus": "clients whose update came after enough others had answered (fleet.over_selection)",
    "fleet/vanished": "clients whose device left before its update was there",
    "fleet/stale": "clients whose update was staler than asynchrony.max_staleness and was left out",
    "fleet/staleness_mean": "server steps between the model that an update began with and its use, mean over updates",
    "fleet/staleness_max": "server steps between the model that an update began with and its use, largest",
    "sparsity/mask_change": "share of maskable weights whose mask entry changed in the round",
    "fleet/participants": "clients whose update was used in the round",
    "fleet/failures": "client tasks that failed in the round",
    "fleet/failures_total": "client tasks that failed, this round and before",
}
