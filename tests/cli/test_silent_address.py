"""Every command that joins a cluster ends when an address accepts connections and never answers."""

import shlex
import socket
from pathlib import Path

import pytest

from tests.support.command_process import CommandProcess

#: command line -> exit code and start of the error line; PORT is the port that never answers
COMMANDS = {
    "run tracking.enabled=false runtime.executor=ray runtime.address=127.0.0.1:PORT": (1, "runtime.address="),
    "sweep smoke runtime.address=ray://127.0.0.1:PORT": (1, "runtime.address="),
    "resume RUN runtime.executor=ray runtime.address=127.0.0.1:PORT": (1, "runtime.address="),
    "list fleets --address 127.0.0.1:PORT": (1, "runtime.address="),
    "submit --address http://127.0.0.1:PORT run runtime.storage=/x": (1, "--address="),
    "status --address http://127.0.0.1:PORT": (1, "--address="),
    "stop r-1 --address http://127.0.0.1:PORT": (2, "RUN=r-1: "),
}


@pytest.mark.thorough
def test_each_command_ends_with_one_line_that_has_the_address(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands wait at the same time. Ray alone would wait for minutes, and write lines of its own."""
    before = _files(finished)
    folder = tmp_path_factory.mktemp("current")
    monkeypatch.chdir(folder)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        port = str(server.getsockname()[1])
        lines = [line.replace("PORT", port).replace("RUN", str(finished)) for line in COMMANDS]
        started = [CommandProcess(shlex.split(line)) for line in lines]
        outputs = [process.rest(timeout_s=300) for process in started]
    for process, output, (code, start) in zip(started, outputs, COMMANDS.values(), strict=True):
        (line,) = output.splitlines()
        assert process.process.returncode == code, output
        assert line.startswith(f"error: {start}")
        assert f"127.0.0.1:{port}" in line
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert _files(finished) == before


def _files(run: Path) -> dict[Path, bytes]:
    """Return the contents of a run's files, without its lock, which names the last process."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
