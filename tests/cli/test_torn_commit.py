"""A newest commit that is torn: resumed from the one before, said so, and the run ends where it would have."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command
from tests.support.runs import TIMING


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "server state flipped": ("commits/server-000002.safetensors", _flip),
    "server state cut short": ("commits/server-000002.safetensors", lambda data: data[:-1]),
    "server state gone": ("commits/server-000002.safetensors", lambda data: None),
    "pointer flipped": ("commits/round-000002.json", _flip),
    "pointer empty": ("commits/round-000002.json", lambda data: b""),
    "log cut short": ("metrics.jsonl", lambda data: data[:-1]),
    "log zeroed at its end": ("events.jsonl", lambda data: data[:-100] + bytes(100)),
}


def _damage(folder: Path, name: str) -> Path:
    file, damage = DAMAGE[name]
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


@pytest.mark.parametrize("name", DAMAGE)
def test_the_run_goes_on_from_the_commit_before(name: str, command: Command, finished: Path) -> None:
    summary, metrics = _summary(finished), _metrics(finished)
    events = (finished / "events.jsonl").read_bytes()
    path = _damage(finished, name)
    ended = command("resume", finished)
    assert ended.code == 0, ended.err
    (line,) = (line for line in ended.err.splitlines() if "cannot be used" in line)
    assert f"round 2 cannot be used: {path} " in line
    assert "after round 1" in line
    assert line.endswith("torn-000002.json")
    assert (_summary(finished), _metrics(finished)) == (summary, metrics)
    assert (finished / "events.jsonl").read_bytes() == events
    assert (finished / "commits" / "torn-000002.json").is_file()
    again = command("resume", finished)
    assert (again.code, "cannot be used" in again.err) == (0, False)


def test_two_torn_commits_are_refused_with_both_names(command: Command, finished: Path) -> None:
    paths = [finished / "commits" / f"server-00000{n}.safetensors" for n in (1, 2)]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    ended = command("resume", "-q", finished)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert all(str(path) in line for path in paths)
    assert "rounds 2 and 1 " in line


def test_a_run_whose_only_commit_is_torn_begins_anew(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    assert command("run", "-q", *quick, "training.rounds=1").code == 0
    (folder,) = storage.iterdir()
    before = _summary(folder)
    (folder / "commits" / "server-000000.safetensors").write_bytes(b"")
    ended = command("resume", folder)
    assert ended.code == 0
    assert "restarts at round 0" in ended.err
    assert (_summary(folder), len(_metrics(folder))) == (before, 1)


def test_mlflow_loses_nothing_and_doubles_nothing(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    """The round that is done again was delivered already: the store keeps what it has of it."""
    from mlflow import MlflowClient

    assert command("run", "-q", *quick, "training.rounds=3", "tracking.enabled=true").code == 0
    (folder,) = (path for path in storage.iterdir() if (path / "run.json").is_file())
    _damage(folder, "server state flipped")
    assert command("resume", "-q", folder, "training.rounds=4").code == 0
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (run,) = client.search_runs(["1"])
    rounds = _metrics(folder)
    for name in {name for metrics in rounds for name in metrics}:
        history = client.get_metric_history(run.info.run_id, name)
        told = sorted((point.step, point.value) for point in history)
        assert told == [(n, metrics[name]) for n, metrics in enumerate(rounds) if name in metrics], name
    for name in TIMING:
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == [0, 1, 2, 3]
