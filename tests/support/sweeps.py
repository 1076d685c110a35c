"""Builders for tests of sweeps: requests, records, endings, stores and search-space files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import ACCURACY, TIME, UPLOAD
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.store import Ending, EndStatus, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.tracking.record import RoundRecord

#: the smallest run: four rounds on the bundled digits, in this process, without MLflow
BASE: Mapping[str, Any] = {
    "model": {"name": "mlp"},
    "fleet": {"num_clients": 4},
    "training": {"clients_per_round": 2, "rounds": 4, "local_epochs": 1},
    "runtime": {"executor": "inprocess"},
    "tracking": {"enabled": False},
}


def request(**options: Any) -> SweepRequest:
    """Return a request for the space `smoke`, unless `options` name another space."""
    return SweepRequest.model_validate({"space": "smoke", **options})


def space_file(folder: Path, text: str, name: str = "own.py") -> str:
    """Write a search-space file that imports `tune` and contains `text`; return its path."""
    file = folder / name
    file.write_text(f'"""What it compares.\n\nMore."""\nfrom ray import tune\n{text}\n')
    return str(file)


def evaluated(
    round_idx: int, accuracy: float | None, upload: float = 0.0, time_s: float = 0.0, **more: float
) -> RoundRecord:
    """Return the record of a round with these cumulative totals and this validation accuracy.

    None as `accuracy`: the round was not evaluated.
    """
    metrics = {UPLOAD: upload, TIME: time_s, **more}
    measured = {} if accuracy is None else {ACCURACY["validation"]: accuracy}
    return RoundRecord(round_idx, 0, {**measured, **metrics})


def trial(number: int, **values: Any) -> TrialSpec:
    """Return a trial; `algorithm__mu=1` sets the key `algorithm.mu` to 1."""
    return TrialSpec(number=number, values={key.replace("__", "."): value for key, value in values.items()})


def ending(
    spec: TrialSpec, status: EndStatus = "finished", run_id: str | None = None, **metrics: float
) -> Ending:
    """Return the ending of a trial with these values of the metrics."""
    return Ending(
        number=spec.number,
        status=status,
        run_id=run_id,
        cause="RoundError: too few" if status == "failed" else "",
        objective=metrics,
        values=spec.values,
    )


def summary(
    run_id: str, *, accuracy: float | None = 0.5, upload: int = 10, emulated_s: float = 2.0
) -> RunSummary:
    """Return the summary of a run with the values that sweeps read."""
    return RunSummary(
        run_id=run_id,
        algorithm="fedavg",
        num_rounds=4,
        accuracy=accuracy,
        personal_accuracy=None,
        upload_bytes_total=upload,
        download_bytes_total=0,
        train_flops_total=0.0,
        emulated_s_total=emulated_s,
        wall_s_total=0.0,
        params_sha256=None,
        num_failures=0,
        interrupted=False,
    )


def new_store(parent: Path, name: str = "sw-1") -> SweepStore:
    """Create an empty folder of a sweep."""
    (parent / name).mkdir(parents=True)
    return SweepStore(parent / name)


def put_run(store: SweepStore, run_id: str, of: RunSummary | None = None) -> Path:
    """Create the folder of a run that contains only a summary."""
    folder = store.folder / run_id
    folder.mkdir()
    (folder / "summary.json").write_text((of or summary(run_id)).to_json())
    return folder
