"""Builders for run folders with simple numbers, for expected values computed by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.analysis import ComparedRun, select_runs
from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.tracking.record import RoundRecord


def record(
    round_idx: int,
    accuracy: float | None,
    *,
    personal: float | None = None,
    validation: float | None = None,
    upload_bytes: float | None = None,
    timestamp_ms: int = 1000,
) -> RoundRecord:
    """Return a record; by default a round adds 100 uploaded bytes, 200 downloaded bytes, 1000 FLOPs and 2 s."""
    upload_bytes = 100.0 * (round_idx + 1) if upload_bytes is None else upload_bytes
    metrics = {
        "comm/upload_bytes_total": upload_bytes,
        "comm/download_bytes_total": 200.0 * (round_idx + 1),
        "compute/train_flops_total": 1000.0 * (round_idx + 1),
        "time/emulated_s_total": 2.0 * (round_idx + 1),
        **({} if accuracy is None else {"eval/accuracy": accuracy}),
        **({} if personal is None else {"personal/accuracy_mean": personal}),
        **({} if validation is None else {"validation/accuracy": validation}),
    }
    return RoundRecord(round_idx, timestamp_ms, metrics)


def records(
    *accuracies: float | None, bytes_a_round: float = 100.0, timestamp_ms: int = 1000
) -> list[RoundRecord]:
    """Return one record per accuracy; None means that the round was not evaluated."""
    return [
        record(r, accuracy, upload_bytes=bytes_a_round * (r + 1), timestamp_ms=timestamp_ms)
        for r, accuracy in enumerate(accuracies)
    ]


def write_run(
    folder: Path,
    *overrides: str,
    method: str = "fedavg",
    seed: int = 0,
    rounds: Sequence[RoundRecord] | None = None,
    about: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    interrupted: bool | None = False,
) -> Path:
    """Write a run of 3 rounds with final accuracy 0.5, or of the given `rounds`, and return its folder.

    - `options`: options of the method, which are not checked.
    - `about`: entries of run.json. Without a `fingerprint`, the seed determines the partition.
    - `interrupted`: the value in summary.json; None writes no summary.
    """
    rounds = records(0.1, 0.3, 0.5) if rounds is None else rounds
    tree = apply_overrides(ExperimentConfig().to_dict(), overrides)
    tree |= {"seed": seed, "algorithm": {"name": method, **(options or {})}}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
    fingerprint = {"data": "digits", "partition": f"split of seed {seed}"}
    (folder / "run.json").write_text(json.dumps({"fingerprint": fingerprint, **(about or {})}))
    (folder / "metrics.jsonl").write_text("".join(f"{r.to_line()}\n" for r in rounds))
    (folder / "commits").mkdir()
    for r in rounds:
        (folder / "commits" / f"round-{r.round_idx:06d}.json").touch()
    if interrupted is not None:
        summary = {"interrupted": interrupted, "num_rounds": len(rounds)}
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def write_sweep(folder: Path) -> Path:
    """Write a sweep without trials and return its folder."""
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    return folder


def selected(storage: Path) -> list[ComparedRun]:
    """Return all runs of a storage folder that are not trials."""
    return list(select_runs(storage).runs)
