"""Writes the artifacts that MLflow gets for a run or sweep, from the files in its folder."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.tracking.plots import plot_curves, plot_partition
from orchestrator.tracking.record import read_records
from orchestrator.tracking.tables import write_clients
from orchestrator.tracking.uris import public_uri

Writer = Callable[[Path, Path], None]
#: artifact name -> (files of the run that the writer needs, writer)
Artifacts = dict[str, tuple[tuple[str, ...], Writer]]


def write_first_artifacts(run_dir: Path, out: Path, texts: Mapping[str, str]) -> list[str]:
    """Write the artifacts that exist at the start of a run to the folder `out`. Returns a line per failed artifact.

    `texts` are further artifacts: name -> content.
    """
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return _write(_FIRST_ARTIFACTS, run_dir, out)


def write_artifacts(run_dir: Path, out: Path, summary: Mapping[str, float | int | str]) -> list[str]:
    """Write the artifacts that exist at the end of a run to the folder `out`. Returns a line per failed artifact."""
    (out / "summary.json").write_text(json.dumps(dict(summary), indent=1) + "\n", encoding="utf-8")
    return _write(_LAST_ARTIFACTS, run_dir, out)


def _write(artifacts: Artifacts, run_dir: Path, out: Path) -> list[str]:
    """Write each artifact whose sources exist in the run's folder."""
    problems = []
    for name, (sources, write) in artifacts.items():
        if not all((run_dir / source).exists() for source in sources):
            continue
        try:
            write(run_dir, out / name)
        except Exception as error:  # a failed plot must not stop the delivery of metrics and model
            problems.append(f"the artifact {name} could not be written ({type(error).__name__}: {error})")
    return problems


def _copy(run_dir: Path, path: Path) -> None:
    shutil.copyfile(run_dir / path.name, path)


def _copy_folder(run_dir: Path, path: Path) -> None:
    shutil.copytree(run_dir / path.name, path)


def _plot_partition(run_dir: Path, path: Path) -> None:
    plot_partition(run_dir / "partition.parquet", path)


def _plot_curves(run_dir: Path, path: Path) -> None:
    plot_curves(read_records(run_dir / "metrics.jsonl"), path)


def _copy_text(run_dir: Path, path: Path) -> None:
    """Copy a text file without user names and passwords in addresses, which files of earlier releases may contain."""
    text = (run_dir / path.name).read_text(encoding="utf-8")
    path.write_text(public_uri(text), encoding="utf-8")


def _write_clients(run_dir: Path, path: Path) -> None:
    scores = run_dir / "client_scores.json"
    events, partition = run_dir / "events.jsonl", run_dir / "partition.parquet"
    write_clients(events, partition, path, scores if scores.is_file() else None)


_FIRST_ARTIFACTS: Artifacts = {
    "config.yaml": (("config.yaml",), _copy_text),
    "run.json": (("run.json",), _copy_text),
    "partition.parquet": (("partition.parquet",), _copy),
    "partition.png": (("partition.parquet",), _plot_partition),
    "sweep.json": (("sweep.json",), _copy_text),
    "study.yaml": (("study.yaml",), _copy_text),
    "sources": (("sources",), _copy_folder),
}
_LAST_ARTIFACTS: Artifacts = {
    "metrics.jsonl": (("metrics.jsonl",), _copy),
    "failures.jsonl": (("failures.jsonl",), _copy_text),
    "curves.png": (("metrics.jsonl",), _plot_curves),
    "events.parquet": (("events.parquet",), _copy),
    "clients.parquet": (("events.jsonl", "partition.parquet"), _write_clients),
    "study.json": (("study.json",), _copy_text),
    "trials.jsonl": (("trials.jsonl",), _copy),
    "endings.jsonl": (("endings.jsonl",), _copy),
    "report": (("report",), _copy_folder),
}
