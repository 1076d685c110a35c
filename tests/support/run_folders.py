"""Folders of runs as sessions leave them, with numbers for hand calculation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.analysis import ComparedRun, pick_runs
from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.tracking.record import RoundRecord


def record(
    round_idx: int,
    accuracy: float | None,
    *,
    personal: float | None = None,
    upload_bytes: float | None = None,
    timestamp_ms: int = 1000,
) -> RoundRecord:
    """By default 100 bytes up, 200 bytes down, 1000 FLOPs and 2 s a round, each so far."""
    upload_bytes = 100.0 * (round_idx + 1) if upload_bytes is None else upload_bytes
    metrics = {
        "comm/upload_bytes_total": upload_bytes,
        "comm/download_bytes_total": 200.0 * (round_idx + 1),
        "compute/train_flops_total": 1000.0 * (round_idx + 1),
        "time/emulated_s_total": 2.0 * (round_idx + 1),
        **({} if accuracy is None else {"eval/accuracy": accuracy}),
        **({} if personal is None else {"personal/accuracy_mean": personal}),
    }
    return RoundRecord(round_idx, timestamp_ms, metrics)


def records(
    *accuracies: float | None, bytes_a_round: float = 100.0, timestamp_ms: int = 1000
) -> list[RoundRecord]:
    """A round each; None where it was not evaluated."""
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
    """A run of 3 rounds that ends at accuracy 0.5, unless `rounds` says otherwise.

    `options` are the method's own, which need not exist. Its split is its seed's, unless `about` has a
    fingerprint. `interrupted` None leaves the summary out.
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
    """A sweep without trials yet."""
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    return folder


def picked(storage: Path) -> list[ComparedRun]:
    """All single runs of a folder."""
    return list(pick_runs(storage).runs)
