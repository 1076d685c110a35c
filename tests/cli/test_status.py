"""`status` on this machine: a table, JSON, and a cluster that does not answer."""

import json
import socket
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """Ray's variables name no cluster; an address at which nothing listens."""
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return address


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster of another program on this machine is looked at."""
    monkeypatch.setattr("orchestrator.cluster.address.DEFAULT_ADDRESS", "http://127.0.0.1:1")


@pytest.mark.usefixtures("alone")
def test_a_finished_run_is_shown(command: Command, finished: Path) -> None:
    ended = command("status", "--storage", finished.parent)
    assert (ended.code, ended.err) == (0, "")
    heading, row = ended.out.splitlines()
    assert heading.split() == ["run", "state", "done", "accuracy", "method"]
    assert row.split()[:3] == [finished.name, "finished", "3/3"]
    assert row.split()[3].endswith("%")
    assert row.split()[4] == "fedavg"


@pytest.mark.usefixtures("alone")
def test_the_same_as_json(command: Command, finished: Path) -> None:
    shown = json.loads(command("status", "--json", "--storage", finished.parent).out)
    assert (shown["storage"], shown["sweeps"], shown["cluster"]) == (str(finished.parent), [], None)
    (run,) = shown["runs"]
    assert (run["name"], run["state"], run["num_done"], run["holder"]) == (finished.name, "finished", 3, None)


@pytest.mark.usefixtures("alone")
def test_a_folder_without_runs(command: Command, storage: Path) -> None:
    ended = command("status", "--storage", storage)
    assert (ended.code, ended.out) == (0, f"No runs in {storage}.\n")


def test_a_cluster_that_was_named_must_answer(
    command: Command, storage: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("--address", nowhere), ()):
        monkeypatch.setenv("RAY_ADDRESS", nowhere)
        ended = command("status", "--storage", storage, *words)
        assert ended.code == 2
        assert ended.err.startswith(f"error: --address={nowhere}: no cluster listens there; ")
