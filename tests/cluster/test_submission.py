"""The job of a command: its entrypoint, the files uploaded with it, and its environment variables."""

import shlex
from collections.abc import Sequence
from importlib.metadata import Distribution, version
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster import shipping
from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.jobs import JobRequest
from orchestrator.cluster.shipping import FILES_FOLDER
from orchestrator.cluster.submission import job_request
from orchestrator.cluster.variables import KEY_VARIABLE
from orchestrator.errors import RequestError

RUN = ParsedCommand(
    "run", ("run", "runtime.storage=/shared/my runs"), {"overrides": ["runtime.storage=/shared/my runs"]}
)


class Upload:
    """A request, with copies of the files that were staged for it."""

    def __init__(self, request: JobRequest) -> None:
        self.request = request
        self.modules = [Path(path) for path in request.runtime_env["py_modules"]]
        above = request.runtime_env.get("working_dir")
        folder = above and Path(above, FILES_FOLDER)
        if above:
            assert [path.name for path in Path(above).iterdir()] == [FILES_FOLDER]
        self.files = (
            {
                str(path.relative_to(folder)): path.read_text()
                for path in Path(folder).rglob("*")
                if path.is_file()
            }
            if folder
            else None
        )
        self.versions = [
            Distribution.at(path).version for path in self.modules if path.suffix == ".dist-info"
        ]


def _upload(
    parsed: ParsedCommand, *, env: Sequence[str] = (), working_dir: Path | None = None, **variables: str
) -> Upload:
    with job_request(
        parsed, working_dir=working_dir, env_names=env, environment=variables, columns=90
    ) as request:
        return Upload(request)


def test_entrypoint_runs_the_arguments_unchanged() -> None:
    entrypoint = _upload(RUN).request.entrypoint
    assert shlex.split(entrypoint) == [
        *("exec", "python", "-P", "-m", "orchestrator.cli.job_entry"),
        *("run", "runtime.storage=/shared/my runs", "runtime.address=auto"),
    ]


def test_packages_are_uploaded_with_their_version() -> None:
    upload = _upload(RUN)
    assert [path.name for path in upload.modules[:3]] == ["orchestrator", "algorithms", "search_spaces"]
    assert all((path / "__init__.py").is_file() for path in upload.modules[:3])
    assert upload.versions == [version("sparsefleet")]
    assert upload.request.runtime_env["excludes"] == ["**/__pycache__"]
    assert upload.request.metadata == {"sparsefleet": version("sparsefleet")}


def test_stop_sends_sigint_and_leaves_time_for_a_round() -> None:
    variables = _upload(RUN).request.runtime_env["env_vars"]
    assert variables["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) >= 600
    assert variables["COLUMNS"] == "90"


def test_only_named_files_are_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("code").mkdir()
    Path("code/mine.py").write_text("x = 1\n")
    Path("secret.txt").write_text("no\n")
    arguments = (*RUN.arguments, "algorithm.name=code/mine.py:Mine")
    upload = _upload(ParsedCommand("run", arguments, {"overrides": list(arguments[1:])}))
    assert upload.files == {"code/mine.py": "x = 1\n"}
    assert upload.request.shipped == "code/mine.py"


def test_no_folder_is_uploaded_without_files() -> None:
    upload = _upload(RUN)
    assert (upload.files, upload.request.shipped) == (None, "")


def test_working_dir_is_uploaded_whole_and_relative_paths_start_there(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "e.yaml").write_text("runtime: {storage: /shared/runs, address: 'head:6379'}\n")
    parsed = ParsedCommand("run", ("run", "-c", "e.yaml"), {"config": ["e.yaml"]})
    upload = _upload(parsed, working_dir=tmp_path)
    assert upload.files is not None
    assert set(upload.files) == {"helper.py", "e.yaml"}
    assert upload.request.shipped == f"the folder {tmp_path.resolve()}"
    assert upload.request.entrypoint.endswith("job_entry run -c e.yaml")


def test_only_selected_variables_are_sent_and_ray_gets_their_key_alone() -> None:
    request = _upload(RUN, env=["TOKEN"], TOKEN="s3cr3t", OTHER="o").request
    assert request.variables is not None
    assert request.variables.values == {"TOKEN": "s3cr3t"}
    assert request.runtime_env["env_vars"][KEY_VARIABLE] == request.variables.key
    assert "TOKEN" not in request.runtime_env["env_vars"]
    assert "s3cr3t" not in repr(request)


def test_job_without_variables_has_no_key() -> None:
    request = _upload(RUN, OTHER="o").request
    assert request.variables is None
    assert KEY_VARIABLE not in request.runtime_env["env_vars"]


@pytest.mark.parametrize(
    ("parsed", "options", "field", "value"),
    [
        (RUN, {"env": ["NONE"]}, "--env", "NONE"),
        (RUN, {"env": ["KEY=value"]}, "--env", "KEY=***"),
        (RUN, {"working_dir": Path("nowhere")}, "--working-dir", Path("nowhere")),
        (ParsedCommand("ui", ("ui",), {}), {}, "COMMAND", "ui"),
    ],
)
def test_request_that_cannot_run_as_a_job_is_rejected(
    parsed: ParsedCommand, options: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(RequestError) as caught:
        _upload(parsed, **options)
    assert (caught.value.field, caught.value.value) == (field, value)


def test_large_files_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("big.npz").open("wb") as file:
        file.truncate(shipping.MAX_BYTES + 1)
    arguments = (*RUN.arguments, "data.root=big.npz")
    with pytest.raises(RequestError) as caught:
        _upload(ParsedCommand("run", arguments, {"overrides": list(arguments[1:])}))
    assert (caught.value.field, caught.value.value) == ("COMMAND", Path("big.npz"))
    assert "100 MB" in caught.value.problem


def test_each_job_has_its_own_id() -> None:
    first, second = (_upload(RUN).request.job_id for _ in range(2))
    assert first != second
    assert first.startswith("run-")
