"""The job for a command: its entrypoint, what travels with it, and its variables."""

import shlex
from collections.abc import Sequence
from importlib.metadata import Distribution, version
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster import shipping
from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.jobs import JobRequest
from orchestrator.cluster.submission import job_request
from orchestrator.errors import RequestError

RUN = ParsedCommand(
    "run", ("run", "runtime.storage=/shared/my runs"), {"overrides": ["runtime.storage=/shared/my runs"]}
)


class Sent:
    """A request, and the files that lay ready for it."""

    def __init__(self, request: JobRequest) -> None:
        self.request = request
        self.modules = [Path(path) for path in request.runtime_env["py_modules"]]
        folder = request.runtime_env.get("working_dir")
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


def _sent(
    asked: ParsedCommand, *, env: Sequence[str] = (), working_dir: Path | None = None, **variables: str
) -> Sent:
    with job_request(
        asked, working_dir=working_dir, env_names=env, environment=variables, columns=90
    ) as request:
        return Sent(request)


def test_the_words_arrive_as_they_were_written() -> None:
    entrypoint = _sent(RUN).request.entrypoint
    assert shlex.split(entrypoint) == [
        *("exec", "python", "-m", "orchestrator.cluster.job_entry"),
        *("run", "runtime.storage=/shared/my runs", "runtime.address=auto"),
    ]


def test_the_packages_travel_with_their_version() -> None:
    sent = _sent(RUN)
    assert [path.name for path in sent.modules[:3]] == ["orchestrator", "algorithms", "search_spaces"]
    assert all((path / "__init__.py").is_file() for path in sent.modules[:3])
    assert sent.versions == [version("sparsefleet")]
    assert sent.request.runtime_env["excludes"] == ["**/__pycache__"]
    assert sent.request.metadata == {"sparsefleet": version("sparsefleet")}


def test_a_stop_is_ctrl_c_with_time_for_a_round() -> None:
    variables = _sent(RUN).request.runtime_env["env_vars"]
    assert variables["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) >= 600
    assert variables["COLUMNS"] == "90"


def test_only_named_files_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("code").mkdir()
    Path("code/mine.py").write_text("x = 1\n")
    Path("secret.txt").write_text("no\n")
    words = (*RUN.words, "algorithm.name=code/mine.py:Mine")
    sent = _sent(ParsedCommand("run", words, {"overrides": list(words[1:])}))
    assert sent.files == {"code/mine.py": "x = 1\n"}
    assert sent.request.shipped == "code/mine.py"


def test_without_files_there_is_no_folder() -> None:
    sent = _sent(RUN)
    assert (sent.files, sent.request.shipped) == (None, "")


def test_a_working_dir_travels_whole_and_is_where_paths_are_meant(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "e.yaml").write_text("runtime: {storage: /shared/runs, address: 'head:6379'}\n")
    asked = ParsedCommand("run", ("run", "-c", "e.yaml"), {"config": Path("e.yaml")})
    sent = _sent(asked, working_dir=tmp_path)
    assert sent.request.runtime_env["working_dir"] == str(tmp_path.resolve())
    assert sent.request.shipped == f"the folder {tmp_path.resolve()}"
    assert sent.request.entrypoint.endswith("job_entry run -c e.yaml")


def test_chosen_variables_are_passed_on_and_no_others() -> None:
    variables = _sent(RUN, env=["TOKEN"], TOKEN="t", OTHER="o").request.runtime_env["env_vars"]
    assert variables["TOKEN"] == "t"
    assert "OTHER" not in variables
    assert "t" not in shlex.split(_sent(RUN, env=["TOKEN"], TOKEN="t").request.entrypoint)


@pytest.mark.parametrize(
    ("asked", "options", "told"),
    [
        (RUN, {"env": ["NONE"]}, "--env=NONE: there is no such variable here; set it: export NONE=..."),
        (RUN, {"env": ["KEY=value"]}, "--env=KEY=***: a value on a command line can be read by others"),
        (RUN, {"working_dir": Path("nowhere")}, "--working-dir=nowhere: there is no such folder"),
        (
            ParsedCommand("ui", ("ui",), {}),
            {},
            "COMMAND=ui: it cannot run as a job; choose one of run, resume, ",
        ),
    ],
)
def test_what_cannot_be_submitted(asked: ParsedCommand, options: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        _sent(asked, **options)
    assert str(caught.value).startswith(told)


def test_files_that_are_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("big.npz").open("wb") as file:
        file.truncate(shipping.MOST_BYTES + 1)
    words = (*RUN.words, "data.root=big.npz")
    with pytest.raises(RequestError, match=r"^COMMAND=big\.npz: the files that it names have 100 MB, "):
        _sent(ParsedCommand("run", words, {"overrides": list(words[1:])}))


def test_two_jobs_have_two_ids() -> None:
    first, second = (_sent(RUN).request.job_id for _ in range(2))
    assert first != second
    assert first.startswith("run-")
