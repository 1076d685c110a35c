"""`sparsefleet ui` ends its server with itself."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.command_process import CommandProcess
from tests.support.mlflow_server import free_port


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_ui_and_its_server_without_a_traceback(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").touch()
    process = CommandProcess(["ui", "--storage", tmp_path, "--port", free_port()])
    process.wait_for("MLflow UI on")
    children = psutil.Process(process.process.pid).children()
    os.kill(process.process.pid, number)
    output = process.rest(timeout_s=120)
    assert process.process.returncode == code, output
    assert "Traceback" not in output
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
