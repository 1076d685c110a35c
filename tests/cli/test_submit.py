"""`submit` up to the cluster: what is refused before anything is sent, and with which words."""

import socket
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nothing listens."""
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "COMMAND=-: "),
        (("--follow", "run-1", "run"), "COMMAND=run: "),
        (("ui",), "COMMAND=ui: "),
        (("submit", "run"), "COMMAND=submit: "),
        (("runn",), "COMMAND=runn: "),
        (("run",), "runtime.storage=runs: "),
        (("sweep", "smoke", "--seeds", "2"), "runtime.storage=runs: "),
        (("sweep", "smoke", "--storage", "s"), "--storage=s: "),
        (("run", "-c", "no.yaml", "runtime.storage=/s"), "--config=no.yaml: cannot be read"),
        (("run", "runtime.storage=/s", "tracking.uri=http://u:p@h"), "tracking.uri=http://***@h: "),
        (("--env", "A=b", "run", "runtime.storage=/s"), "--env=A=***: "),
        (("--env", "NO_SUCH_NAME", "run", "runtime.storage=/s"), "--env=NO_SUCH_NAME: "),
        (("--on-interrupt", "never", "run"), "--on-interrupt=never: there is no such choice; choose ask, "),
        (("--working-dir", "nowhere", "run", "runtime.storage=/s"), "--working-dir=nowhere: "),
    ],
)
def test_a_wrong_request_is_one_line(
    words: tuple[str, ...], told: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("submit", *words)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {told}")


def test_the_words_are_read_as_the_command_itself_reads_them(command: Command) -> None:
    ended = command("submit", "run", "--bogus")
    assert ended.code == 2
    assert "Usage: sparsefleet run" in ended.err
    assert "No such option: --bogus" in ended.err
    ended = command("submit", "--bogus", "run")
    assert ended.code == 2
    assert "Usage: sparsefleet submit" in ended.err


@pytest.mark.parametrize("words", [("list", "models"), ("--follow", "run-1"), ("--detach", "list", "models")])
def test_a_cluster_that_is_not_there_is_one_line(
    words: tuple[str, ...], command: Command, nobody: str
) -> None:
    ended = command("submit", "--address", nobody, *words)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(
        f"error: --address={nobody}: no cluster listens there; start it, forward its dashboard"
    )


def test_help_has_examples_and_warns_of_the_values(command: Command) -> None:
    out = " ".join(command("submit", "--help").out.replace("│", " ").split())
    assert "sparsefleet submit --detach sweep sparsity --seeds 3 --storage /shared/runs" in out
    assert "shows it to whoever has the cluster's token" in out
