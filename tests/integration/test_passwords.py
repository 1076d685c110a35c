"""A run and a sweep on an MLflow server with a password: no file, message or command line contains a secret."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import QUICK
from tests.support.mlflow_server import MlflowServer
from tests.support.secret_search import Secrets, readable_by_others

PASSWORD = "s3cr3t-p%s@w/rd"
QUOTED = "s3cr3t-p%25s%40w%2Frd"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path_factory.mktemp("server"), PASSWORD)
    started.start()
    yield started
    started.kill()


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Other users may read every file whose maker does not say otherwise."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


#: variables of the shell that starts a command, with secrets that the command does not need
OTHER_SECRETS = {
    name: secrets.token_hex(16)
    for name in ("MLFLOW_AUTH_ADMIN_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN")
}
SECRETS = ("s3cr3t", PASSWORD, QUOTED, *OTHER_SECRETS.values())


def _config(folder: Path, server: MlflowServer) -> Path:
    """A config with the password in the address; on a command line, the user would show it."""
    file = folder / "secret.yaml"
    address = server.uri.replace("//", f"//admin:{QUOTED}@")
    file.write_text(json.dumps({"tracking": {"uri": address, "enabled": True}}))
    return file


def _sparsefleet(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def test_password_in_the_address_is_used_and_written_nowhere(server: MlflowServer, tmp_path: Path) -> None:
    searched, storage = Secrets(*SECRETS), tmp_path / "runs"
    tmp_path.chmod(0o755)
    options = (*QUICK, "tracking.enabled=true", f"runtime.storage={storage}")
    with searched.watched():
        done = _sparsefleet("run", "-c", _config(tmp_path, server), *options, **OTHER_SECRETS)
    assert done.returncode == 0, done.stderr
    assert not searched.are_in(done.stdout + done.stderr)
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    assert searched.files(storage, server.folder) == []
    assert searched.shown == set()
    assert [*readable_by_others(storage)] == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir() if path.is_file()} == {0}

    resume = ("resume", folder, "training.rounds=3")
    rejected = _sparsefleet(*resume)
    assert rejected.returncode == 1
    assert "MLFLOW_TRACKING_PASSWORD" in rejected.stderr
    resumed = _sparsefleet(*resume, MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=PASSWORD)
    assert resumed.returncode == 0, resumed.stderr


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's sessions that other users can enter. Its path is short enough for Ray."""
    folder = Path(tempfile.mkdtemp(prefix="sfp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
def test_password_of_a_sweep_is_used_and_written_nowhere(
    server: MlflowServer, tmp_path: Path, ray_folder: Path
) -> None:
    """The address reaches the sweep's own MLflow run, its trials and their trackers, each in its own process."""
    searched, storage = Secrets(*SECRETS), tmp_path / "runs"
    tmp_path.chmod(0o755)
    options = ("-c", _config(tmp_path, server), "training.rounds=2", "--storage", storage)
    with searched.watched():
        done = _sparsefleet(
            "sweep", "smoke", *options, **OTHER_SECRETS, RAY_AUTH_MODE="token", RAY_TMPDIR=str(ray_folder)
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not searched.are_in(done.stdout + done.stderr)
    assert [*ray_folder.rglob("raylet.out")], "Ray has written its logs there"
    assert searched.files(storage, server.folder, ray_folder) == []
    assert searched.shown == set()
    assert [*readable_by_others(storage), *readable_by_others(ray_folder)] == []
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
