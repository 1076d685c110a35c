"""`status` without a cluster: a table, JSON, and the error for a cluster that does not answer."""

import json
import socket
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture(autouse=True)
def unused_address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which no process listens; Ray's environment variables name no cluster."""
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return address


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides any cluster that another program runs on this machine."""
    monkeypatch.setattr("orchestrator.cluster.address.DEFAULT_ADDRESS", "http://127.0.0.1:1")


@pytest.mark.usefixtures("no_cluster")
def test_status_shows_a_finished_run(command: Command, finished: Path) -> None:
    result = command("status", "--storage", finished.parent)
    assert (result.code, result.err) == (0, "")
    heading, row = result.out.splitlines()
    assert heading.split() == ["run", "state", "done", "accuracy", "method"]
    assert row.split()[:3] == [finished.name, "finished", "3/3"]
    assert row.split()[3].endswith("%")
    assert row.split()[4] == "fedavg"


@pytest.mark.usefixtures("no_cluster")
def test_status_prints_json(command: Command, finished: Path) -> None:
    shown = json.loads(command("status", "--json", "--storage", finished.parent).out)
    assert (shown["storage"], shown["sweeps"], shown["cluster"]) == (str(finished.parent), [], None)
    (run,) = shown["runs"]
    assert (run["name"], run["state"], run["num_done"], run["holder"]) == (finished.name, "finished", 3, None)


@pytest.mark.usefixtures("no_cluster")
def test_status_of_a_folder_without_runs(command: Command, storage: Path) -> None:
    result = command("status", "--storage", storage)
    assert (result.code, result.out) == (0, f"No runs in {storage}.\n")


def test_status_rejects_a_named_cluster_that_does_not_answer(
    command: Command, storage: Path, unused_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (("--address", unused_address), ()):
        monkeypatch.setenv("RAY_ADDRESS", unused_address)
        result = command("status", "--storage", storage, *arguments)
        assert result.code == 1
        assert result.err.startswith(f"error: --address={unused_address}: ")
