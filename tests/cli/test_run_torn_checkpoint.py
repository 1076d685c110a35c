"""`resume` after a crash has torn the newest checkpoint: the run uses the checkpoint before and ends the same."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.presentation.metric_names import mlflow_metric
from tests.support.command import Command
from tests.support.runs import TIMING


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "server state flipped": ("commits/server-000002.safetensors", _flip),
    "server state cut short": ("commits/server-000002.safetensors", lambda data: data[:-1]),
    "server state gone": ("commits/server-000002.safetensors", lambda data: None),
    "pointer flipped": ("commits/round-000002.json", _flip),
    "pointer empty": ("commits/round-000002.json", lambda data: b""),
    "log cut short": ("metrics.jsonl", lambda data: data[:-1]),
    "log zeroed at its end": ("events.jsonl", lambda data: data[:-100] + bytes(100)),
}


def _damage(folder: Path, name: str) -> Path:
    file, damage = DAMAGES[name]
    path = folder / file
    damaged = damage(path.read_bytes())
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    return path


def _metrics(folder: Path) -> list[Mapping[str, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["round_idx"] for record in records] == list(range(len(records)))
    return [{k: v for k, v in record["metrics"].items() if k not in TIMING} for record in records]


def _summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in found.items() if key != "wall_s_total"}


@pytest.mark.parametrize("name", DAMAGES)
def test_resume_uses_the_checkpoint_before_a_torn_one(name: str, command: Command, finished: Path) -> None:
    summary, metrics = _summary(finished), _metrics(finished)
    events = (finished / "events.jsonl").read_bytes()
    path = _damage(finished, name)
    result = command("resume", finished)
    assert result.code == 0, result.err
    (line,) = (line for line in result.err.splitlines() if "torn-000002.json" in line)
    assert f"{path} " in line
    assert "round 2" in line
    assert "round 1" in line
    assert (_summary(finished), _metrics(finished)) == (summary, metrics)
    assert (finished / "events.jsonl").read_bytes() == events
    assert (finished / "commits" / "torn-000002.json").is_file()
    again = command("resume", finished)
    assert (again.code, "torn" in again.err) == (0, False)


def test_resume_rejects_two_torn_checkpoints_and_names_both(command: Command, finished: Path) -> None:
    paths = [finished / "commits" / f"server-00000{n}.safetensors" for n in (1, 2)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    result = command("resume", "-q", finished)
    assert (result.code, result.out) == (1, "")
    assert all(str(path) in result.error_line for path in paths)


def test_resume_restarts_a_run_whose_only_checkpoint_is_torn(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    assert command("run", "-q", *quick, "training.rounds=1").code == 0
    (folder,) = storage.iterdir()
    before = _summary(folder)
    (folder / "commits" / "server-000000.safetensors").write_bytes(b"")
    result = command("resume", folder)
    assert result.code == 0
    assert any("torn-000000.json" in line for line in result.err.splitlines())
    assert (_summary(folder), len(_metrics(folder))) == (before, 1)


def test_mlflow_has_each_round_exactly_once_after_a_torn_checkpoint(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    """MLflow already has the repeated round, and must keep exactly one value of each metric."""
    from mlflow import MlflowClient

    assert command("run", "-q", *quick, "training.rounds=3", "tracking.enabled=true").code == 0
    (folder,) = (path for path in storage.iterdir() if (path / "run.json").is_file())
    _damage(folder, "server state flipped")
    assert command("resume", "-q", folder, "training.rounds=4").code == 0
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (run,) = client.search_runs(["1"])
    rounds = _metrics(folder)
    for name in {name for metrics in rounds for name in metrics}:
        history = client.get_metric_history(run.info.run_id, mlflow_metric(name))
        points = sorted((point.step, point.value) for point in history)
        values = [(n, metrics[name]) for n, metrics in enumerate(rounds) if name in metrics]
        assert points == values or (points == [] and not any(value for _, value in values)), name
    for name in TIMING:
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == [0, 1, 2, 3]
