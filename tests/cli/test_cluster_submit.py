"""`submit` before it contacts a cluster: the requests that it rejects."""

import socket
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture
def unused_address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which no process listens."""
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        ((), "COMMAND=-"),
        (("--follow", "run-1", "run"), "COMMAND=run"),
        (("ui",), "COMMAND=ui"),
        (("submit", "run"), "COMMAND=submit"),
        (("runn",), "COMMAND=runn"),
        (("run",), "runtime.storage=runs"),
        (("sweep", "smoke", "--seeds", "2"), "runtime.storage=runs"),
        (("sweep", "smoke", "--storage", "s"), "--storage=s"),
        (("run", "-c", "no.yaml", "runtime.storage=/s"), "--config=no.yaml"),
        (("run", "runtime.storage=/s", "tracking.uri=http://u:p@h"), "tracking.uri=http://***@h"),
        (("--env", "A=b", "run", "runtime.storage=/s"), "--env=A=***"),
        (("--env", "NO_SUCH_NAME", "run", "runtime.storage=/s"), "--env=NO_SUCH_NAME"),
        (("--on-interrupt", "never", "run"), "--on-interrupt=never"),
        (("--working-dir", "nowhere", "run", "runtime.storage=/s"), "--working-dir=nowhere"),
    ],
)
def test_submit_rejects_an_invalid_request_in_one_line(
    arguments: tuple[str, ...],
    field_and_value: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("submit", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value}: ")


def test_submit_reports_the_usage_errors_of_the_submitted_command(command: Command) -> None:
    result = command("submit", "run", "--bogus")
    assert result.code == 2
    assert "Usage: sparsefleet run" in result.err
    assert "No such option: --bogus" in result.err
    result = command("submit", "--bogus", "run")
    assert result.code == 2
    assert "Usage: sparsefleet submit" in result.err


@pytest.mark.parametrize(
    "arguments", [("list", "models"), ("--follow", "run-1"), ("--detach", "list", "models")]
)
def test_submit_reports_an_unreachable_cluster_in_one_line(
    arguments: tuple[str, ...], command: Command, unused_address: str
) -> None:
    result = command("submit", "--address", unused_address, *arguments)
    assert (result.code, result.out) == (1, "")
    assert result.error_line.startswith(f"error: --address={unused_address}: ")
