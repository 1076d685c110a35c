"""The files that go to MLflow with a finished run or sweep, made from its own folder."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from orchestrator.tracking.plots import draw_curves, draw_partition
from orchestrator.tracking.reachable import public_uri
from orchestrator.tracking.record import read_records
from orchestrator.tracking.tables import write_clients

Writer = Callable[[Path, Path], None]
#: file name -> (files of the run that it needs, how it is made)
Pieces = dict[str, tuple[tuple[str, ...], Writer]]


def write_first_artifacts(run_dir: Path, out: Path) -> list[str]:
    """Fill the folder `out` with what is known when a run begins. Returns a line for each piece that failed."""
    return _write(_FIRST_PIECES, run_dir, out)


def write_artifacts(run_dir: Path, out: Path, summary: Mapping[str, float | int | str]) -> list[str]:
    """Fill the folder `out` with what is known when a run has ended. Returns a line for each piece that failed."""
    (out / "summary.json").write_text(json.dumps(dict(summary), indent=1) + "\n", encoding="utf-8")
    return _write(_PIECES, run_dir, out)


def _write(pieces: Pieces, run_dir: Path, out: Path) -> list[str]:
    """Write each piece whose sources the run has."""
    problems = []
    for name, (sources, write) in pieces.items():
        if not all((run_dir / source).exists() for source in sources):
            continue
        try:
            write(run_dir, out / name)
        except Exception as error:  # whatever is wrong with a picture, the metrics and the model still go
            problems.append(f"the artifact {name} could not be made ({type(error).__name__}: {error})")
    return problems


def _copy(run_dir: Path, path: Path) -> None:
    shutil.copyfile(run_dir / path.name, path)


def _copy_folder(run_dir: Path, path: Path) -> None:
    shutil.copytree(run_dir / path.name, path)


def _partition_picture(run_dir: Path, path: Path) -> None:
    draw_partition(run_dir / "partition.parquet", path)


def _curves_picture(run_dir: Path, path: Path) -> None:
    draw_curves(read_records(run_dir / "metrics.jsonl"), path)


def _config(run_dir: Path, path: Path) -> None:
    """The resolved config, without the password that a server's address may carry."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    if uri := config.get("tracking", {}).get("uri"):
        config["tracking"]["uri"] = public_uri(uri)
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _clients(run_dir: Path, path: Path) -> None:
    write_clients(run_dir / "events.jsonl", run_dir / "partition.parquet", path)


_FIRST_PIECES: Pieces = {
    "config.yaml": (("config.yaml",), _config),
    "partition.parquet": (("partition.parquet",), _copy),
    "partition.png": (("partition.parquet",), _partition_picture),
    "sweep.json": (("sweep.json",), _copy),
}
_PIECES: Pieces = {
    "metrics.jsonl": (("metrics.jsonl",), _copy),
    "failures.jsonl": (("failures.jsonl",), _copy),
    "curves.png": (("metrics.jsonl",), _curves_picture),
    "events.parquet": (("events.parquet",), _copy),
    "clients.parquet": (("events.jsonl", "partition.parquet"), _clients),
    "trials.jsonl": (("trials.jsonl",), _copy),
    "endings.jsonl": (("endings.jsonl",), _copy),
    "report": (("report",), _copy_folder),
}
