"""Commands as jobs of a real cluster with token authentication: their logs, results, exit codes, and Ctrl-C."""

import hashlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.cluster_head import HeadProcess, started_head
from tests.support.endings import local_uri, mlflow_status
from tests.support.secret_search import Secrets, readable_by_others
from tests.support.user_files import FLEET, MODEL, write_user_files
from tests.support.user_files import METHOD as METHOD_FILE

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SMALL = (
    "tracking.enabled=false",
    "fleet.num_clients=4",
    "training.clients_per_round=2",
    "training.local_epochs=1",
    "runtime.pool_size=1",
    "runtime.actors=pooled",
)
#: a method that prints where its package was imported from
METHOD = '''
import orchestrator
from orchestrator.federation.algorithm import Algorithm, ServerState

print("package:", orchestrator.__file__)


class Mine(Algorithm[ServerState, None]):
    """FedAvg as a plug-in file."""
'''


@pytest.fixture(scope="module")
def head() -> Iterator[HeadProcess]:
    with started_head() as head:
        yield head


def _command(head: HeadProcess, *arguments: object) -> list[str]:
    command, *rest = map(str, arguments)
    return [sys.executable, "-m", "orchestrator.cli", command, "--address", head.address, *rest]


def _run(
    head: HeadProcess, folder: Path, *arguments: object, **changes: str
) -> "subprocess.CompletedProcess[str]":
    environment = {**head.environment, **changes}
    return subprocess.run(
        _command(head, *arguments), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def _run_here(head: HeadProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in this process tree; its `runtime.address` connects it to the cluster."""
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=300)


def _in_process(storage: Path, *overrides: str) -> Any:
    keys = [*SMALL, f"runtime.storage={storage}", "runtime.executor=inprocess", *overrides]
    return session.run(load_config(None, keys), Progress(quiet=True)).params_sha256


def _summary(storage: Path) -> dict[str, Any]:
    (file,) = storage.glob("*/summary.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_job_streams_its_log_and_gives_the_result_of_a_local_run(head: HeadProcess, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "experiment.yaml").write_text('algorithm: {name: "mine.py:Mine"}\ntraining: {rounds: 3}\n')
    storage = tmp_path / "shared"
    ended = _run(
        head, tmp_path, "submit", "run", "-c", "experiment.yaml", *SMALL, f"runtime.storage={storage}"
    )
    assert ended.returncode == 0, ended.stderr
    assert "with experiment.yaml, mine.py" in ended.stderr
    assert ": round 3/3  accuracy " in ended.stdout
    assert "mine.py:Mine" in ended.stdout
    (package,) = {line for line in ended.stdout.splitlines() if line.startswith("package: ")}
    assert "runtime_resources" in package
    assert _summary(storage)["params_sha256"] == _in_process(tmp_path / "here", "training.rounds=3")


@pytest.mark.parametrize("options", [(), ("--working-dir", ".")], ids=["named files", "whole folder"])
def test_job_runs_the_package_and_users_files_in_a_folder_with_modules_of_its_names(
    head: HeadProcess, tmp_path: Path, options: tuple[str, ...]
) -> None:
    home, storage = tmp_path / "home", tmp_path / "shared"
    write_user_files(home / "mine")
    for name in ("torch.py", "random.py", "orchestrator.py", "algorithms.py"):
        (home / name).write_text(f"raise SystemExit('{name} of the folder')")
    names = [name.replace("=", "=mine/") for name in (METHOD_FILE, MODEL, FLEET)]
    # like the installed script, the command does not import from the current folder
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONSAFEPATH": "1"}
    command = ["submit", *options, "run", *SMALL, *names, f"runtime.storage={storage}"]
    ended = _run(head, home, *command, "training.rounds=1", **environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    shutil.rmtree(home)
    (run,) = [path.parent for path in storage.glob("*/run.json")]
    resumed = _run(head, tmp_path, "submit", "resume", str(run), "training.rounds=2", **environment)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr


def test_run_through_ray_client_gives_the_result_of_a_local_run(head: HeadProcess, tmp_path: Path) -> None:
    """The process of the command is not part of the cluster."""
    storage = tmp_path / "shared"
    arguments = [
        "run",
        *SMALL,
        "training.rounds=3",
        f"runtime.storage={storage}",
        f"runtime.address={head.client}",
    ]
    ended = _run_here(head, *arguments)
    assert ended.returncode == 0, ended.stderr
    assert _summary(storage)["params_sha256"] == _in_process(tmp_path / "here", "training.rounds=3")


def test_sweep_through_ray_client_is_rejected(head: HeadProcess, tmp_path: Path) -> None:
    arguments = ["sweep", "smoke", f"runtime.address={head.client}", "--storage", str(tmp_path / "runs")]
    ended = _run_here(head, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: runtime.address={head.client}: ")
    assert not list((tmp_path / "runs").iterdir())


def test_invalid_key_ends_with_the_jobs_exit_code(head: HeadProcess, tmp_path: Path) -> None:
    ended = _run(head, tmp_path, "submit", "run", *SMALL, f"runtime.storage={tmp_path}", "training.rounds=0")
    assert ended.returncode == 2, ended.stderr
    assert "error: training.rounds=0: " in ended.stdout


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "set RAY_AUTH_MODE=token, "),
        ({"RAY_AUTH_TOKEN": ""}, "set RAY_AUTH_MODE=token, "),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "put the cluster's token into ~/.ray/auth_token"),
    ],
)
def test_missing_or_wrong_token_is_one_line_with_the_remedy(
    changes: dict[str, str], remedy: str, head: HeadProcess, tmp_path: Path
) -> None:
    ended = _run(head, tmp_path, "submit", "list", "models", **changes)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert f"error: --address={head.address}: " in line
    assert f"; {remedy}" in line


def test_job_stopped_by_ctrl_c_resumes_to_the_result_of_an_uninterrupted_run(
    head: HeadProcess, tmp_path: Path
) -> None:
    """While the job runs, `status` shows it. The stopped job leaves a summary and an ended MLflow run."""
    storage = tmp_path / "shared"
    keys = (*SMALL, "tracking.enabled=true", f"runtime.storage={storage}", "training.rounds=2000")
    arguments = ("submit", "run", *keys)
    submit = subprocess.Popen(
        _command(head, *arguments),
        env=head.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert submit.stdout is not None
    for line in submit.stdout:
        if ": round 1/2000" in line:
            break
    status = _run(head, tmp_path, "status", "--json", "--storage", storage)
    submit.send_signal(signal.SIGINT)
    output = submit.communicate(timeout=300)[0]
    assert submit.returncode == 130, output
    assert "stopping after " in output

    assert status.returncode == 0, status.stderr
    shown = json.loads(status.stdout)
    (run,) = shown["runs"]
    assert (run["state"], run["num_asked"], run["method"]) == ("running", 2000, "fedavg")
    assert {actor["name"] for actor in shown["cluster"]["actors"]} >= {f"{run['name']}/driver"}
    newest, *_ = shown["cluster"]["jobs"]
    assert newest["state"] == "RUNNING"
    (node,) = shown["cluster"]["nodes"]
    assert (node["is_head"], node["alive"], node["resources"]["CPU"][1]) == (True, True, 2.0)

    summary = _summary(storage)
    assert summary["interrupted"]
    assert mlflow_status(local_uri(storage)) == "KILLED"
    assert f"stopped after {summary['num_rounds']} round" in output
    rounds = summary["num_rounds"] + 2
    changes = ["runtime.executor=inprocess", f"training.rounds={rounds}"]
    resumed = session.resume(Path(run["folder"]), changes, Progress(quiet=True))
    assert resumed.params_sha256 == _in_process(tmp_path / "here", f"training.rounds={rounds}")


#: a method whose clients reject a process without the variable
READER = '''
import os
from hashlib import sha256

from orchestrator.method import Algorithm, LocalRun, Payload, ServerState


class Reader(Algorithm[ServerState, None]):
    """FedAvg of clients that know a secret."""

    def pack(self, run: LocalRun[None]) -> Payload:
        assert sha256(os.environ["SECRET_OF_THE_CLIENTS"].encode()).hexdigest() == "{digest}"
        return super().pack(run)
'''


def _job_info(head: HeadProcess, job_id: str) -> str:
    """What the job server tells every user with the token about a job."""
    request = urllib.request.Request(
        f"{head.address}/api/jobs/{job_id}",
        headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: str = answer.read().decode()
    return found


def test_secrets_of_a_job_reach_it_and_are_written_nowhere(head: HeadProcess, tmp_path: Path) -> None:
    """A value of `--env`, one of `--env-file` and the token: not in the files of Ray, of the run and of MLflow, not in
    the log, in what the cluster tells of the job, or on a command line. No other user can read a file of the job."""
    of_file, of_clients = f"file-{secrets.token_hex(16)}", f"clients-{secrets.token_hex(16)}"
    searched = Secrets(of_file, of_clients, head.environment["RAY_AUTH_TOKEN"])
    home, storage = Path(head.environment["HOME"]), tmp_path / "shared"
    tmp_path.chmod(0o755)
    digest = hashlib.sha256(of_clients.encode()).hexdigest()
    (tmp_path / "reader.py").write_text(READER.replace("{digest}", digest))
    file = tmp_path / "secrets.env"
    file.write_text(f"MLFLOW_TRACKING_TOKEN={of_file}\nMLFLOW_EXPERIMENT_NAME='of the file'\n")
    keys = (*SMALL, "tracking.enabled=true", f"runtime.storage={storage}", "training.rounds=1")
    command = ("submit", "--env", "SECRET_OF_THE_CLIENTS", "--env-file", file, "run", *keys)
    variables = {"SECRET_OF_THE_CLIENTS": of_clients}
    file.chmod(0o644)
    rejected = _run(head, tmp_path, *command, **variables)
    assert rejected.returncode != 0
    assert "--env-file" in rejected.stdout
    assert not storage.exists()
    file.chmod(0o600)
    with searched.watched():
        done = _run(head, tmp_path, *command, "algorithm.name=reader.py:Reader", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of the file" in done.stdout
    job_id = done.stderr.split()[0]
    assert job_id.startswith("run-")
    assert str(file) in _job_info(head, job_id)
    assert not searched.are_in(done.stdout + done.stderr + _job_info(head, job_id))
    assert [path for path in home.rglob("*") if job_id in path.name], "Ray has logs of the job"
    assert searched.files(home, storage) == []
    assert searched.shown == set()
    assert [*readable_by_others(storage)] == []
    assert [path for path in readable_by_others(home / "r") if path.is_file()] == []
