"""A run on an MLflow server with a password: the password works, and no file or message contains it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import QUICK
from tests.support.mlflow_server import MlflowServer

PASSWORD = "s3cr3t-p%s@w/rd"
QUOTED = "s3cr3t-p%25s%40w%2Frd"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path_factory.mktemp("server"), PASSWORD)
    started.start()
    yield started
    started.kill()


def _sparsefleet(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def _files_with_password(*folders: Path) -> list[Path]:
    words = [b"s3cr3t", PASSWORD.encode(), QUOTED.encode()]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if any(word in path.read_bytes() for word in words)]


def test_password_in_the_address_is_used_and_written_nowhere(server: MlflowServer, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    address = server.uri.replace("//", f"//admin:{QUOTED}@")
    options = (*QUICK, "tracking.enabled=true", f"runtime.storage={storage}")
    done = _sparsefleet("run", *options, f"tracking.uri={address}")
    assert done.returncode == 0, done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    assert _files_with_password(storage, server.folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir() if path.is_file()} == {0}

    resume = ("resume", folder, "training.rounds=3")
    rejected = _sparsefleet(*resume)
    assert rejected.returncode == 1
    assert "MLFLOW_TRACKING_PASSWORD" in rejected.stderr
    resumed = _sparsefleet(*resume, MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=PASSWORD)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.ray
def test_password_of_a_sweep_is_used_and_written_nowhere(server: MlflowServer, tmp_path: Path) -> None:
    """The address reaches the sweep's own MLflow run, its trials and their trackers, each in its own process."""
    storage = tmp_path / "runs"
    address = server.uri.replace("//", f"//admin:{QUOTED}@")
    options = ("tracking.enabled=true", f"tracking.uri={address}", "training.rounds=2", "--storage", storage)
    done = _sparsefleet("sweep", "smoke", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    assert _files_with_password(storage, server.folder) == []
    (sweep,) = (path.parent for path in storage.glob("*/sweep.json"))
    deliveries = [json.loads(path.read_text()) for path in sweep.rglob("tracking.json")]
    assert {(each["num_delivered"], each["uri"]) for each in deliveries} == {(2, server.uri)}
    assert sweep.stat().st_mode & 0o777 == 0o700


def test_wrong_password_is_rejected_before_the_first_round(server: MlflowServer, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    address = server.uri.replace("//", "//admin:s3cr3t-but-wrong@")
    options = (*QUICK, "tracking.enabled=true", f"runtime.storage={storage}", f"tracking.uri={address}")
    done = _sparsefleet("run", "--verbose", *options)
    assert done.returncode == 1
    assert "s3cr3t" not in done.stdout + done.stderr
    assert list(storage.iterdir()) == []
