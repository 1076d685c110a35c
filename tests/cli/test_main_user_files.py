"""Every command works with a method, a model, a search space and a fleet from files outside of the project."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.shipping import FILES_FOLDER
from orchestrator.cluster.submission import job_request
from orchestrator.storage.run_store import RunStore
from tests.support.command import QUICK, Command
from tests.support.user_files import FLEET, KINDS, METHOD, MODEL, write_user_files

SIZE = ("model.name=mlp", *QUICK)
ALL = (METHOD, MODEL, FLEET)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder with the files, which is the current folder."""
    folder = write_user_files(tmp_path / "home")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def _run(command: Command, storage: Path, *overrides: str) -> Path:
    done = command("run", *SIZE, f"runtime.storage={storage}", *overrides)
    assert done.code == 0, done.err
    (folder,) = [path.parent for path in storage.glob("*/run.json")]
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_run_stores_the_files_that_it_uses(command: Command, home: Path, storage: Path, kind: str) -> None:
    override, names = KINDS[kind]
    folder = _run(command, storage, override)
    (described,) = RunStore(folder).about()["sources"].values()
    assert set(described["sha256"]) == names
    (label,) = (folder / "sources").iterdir()
    copies = {path.relative_to(label).as_posix(): path for path in label.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in copies.items()} == {
        name: (home / name).read_bytes() for name in names
    }


@pytest.mark.parametrize("remains", [True, False], ids=["files remain", "files are gone"])
@pytest.mark.parametrize("kind", KINDS)
def test_resume_works_from_another_folder(
    command: Command,
    home: Path,
    storage: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    remains: bool,
) -> None:
    folder = _run(command, storage, KINDS[kind][0])
    monkeypatch.chdir(elsewhere)
    if not remains:
        shutil.rmtree(home)
    done = command("resume", folder, "training.rounds=3")
    assert done.code == 0, done.err
    assert json.loads((folder / "summary.json").read_text())["num_rounds"] == 3
    assert ("no longer exists" in done.err) is not remains


@pytest.mark.parametrize("kind", KINDS)
def test_retime_and_compare_work_from_another_folder(
    command: Command,
    home: Path,
    storage: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    folder = _run(command, storage, KINDS[kind][0])
    monkeypatch.chdir(elsewhere)
    for arguments in (
        ("retime", folder, "--fleet", home / "street.yaml"),
        ("compare", folder, "--storage", storage),
    ):
        done = command(*arguments)
        assert done.code == 0, done.err


@pytest.mark.parametrize("kind", KINDS)
def test_check_accepts_a_method_on_users_files(command: Command, home: Path, kind: str) -> None:
    override = KINDS[kind][0]
    arguments = [override.partition("=")[2]] if kind == "method" else ["fedavg", override]
    done = command("check", *arguments)
    assert done.code == 0, done.out + done.err


@contextmanager
def _staged(*arguments: str, **options: Any) -> Iterator[Path]:
    """The folder that a job of this command gets."""
    parsed = ParsedCommand(arguments[0], arguments, options)
    with job_request(parsed, working_dir=None, env_names=(), environment={}, columns=80) as request:
        yield Path(request.runtime_env["working_dir"], FILES_FOLDER)


@pytest.mark.parametrize("kind", KINDS)
def test_submitted_command_runs_with_the_files_of_its_job(
    command: Command, home: Path, storage: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    override, names = KINDS[kind]
    with _staged("run", override, overrides=[override, f"runtime.storage={storage}"]) as folder:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == names
        monkeypatch.chdir(folder)
        _run(command, storage, override)
        monkeypatch.chdir(home)


def test_submitted_sweep_gets_the_space_with_its_neighbour(home: Path, storage: Path) -> None:
    overrides = [METHOD, f"runtime.storage={storage}"]
    with _staged("sweep", "space.py", *overrides, space="space.py", overrides=overrides) as folder:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"space.py", "choices.py", *KINDS["method"][1]}


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_submitted_sweep_runs_with_the_files_of_its_job(
    command: Command, home: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dimension has the user's own method and a built-in method, and another dimension has such models."""
    names = {
        "algorithm.name": [METHOD.partition("=")[2], "fedavg"],
        "model.name": [MODEL.partition("=")[2], "mlp"],
    }
    lists = [f"{key}=[{', '.join(values)}]" for key, values in names.items()]
    short = (*QUICK, "training.rounds=1", "training.lr=0.1")
    overrides = [*short, *lists, FLEET, f"runtime.storage={storage}"]
    with _staged("sweep", "grid.py", *overrides, space="grid.py", overrides=overrides) as folder:
        monkeypatch.chdir(folder)
        done = command("sweep", "grid.py", *overrides)
        monkeypatch.chdir(home)
    assert done.code == 0, done.out + done.err
    (file,) = storage.glob("*/endings.jsonl")
    endings = [json.loads(line) for line in file.read_text().splitlines()]
    assert {ending["status"] for ending in endings} == {"finished"}
    trained = {tuple(ending["values"][key] for key in names) for ending in endings}
    assert trained == set(product(*names.values()))


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "options",
    [
        ("grid.py", "runtime.executor=ray", "runtime.pool_size=1"),
        ("space.py", "--search", "tpe", "--num-samples", "2"),
        (
            "space.py",
            "--search",
            "random",
            "--scheduler",
            "pbt",
            "--num-samples",
            "2",
            "--perturb-rounds",
            "1",
        ),
    ],
    ids=["grid", "tpe", "pbt"],
)
def test_sweep_runs_and_resumes_with_all_kinds_of_files(
    command: Command,
    home: Path,
    storage: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    done = command("sweep", options[0], *QUICK, *ALL, *options[1:], "--storage", storage)
    assert done.code == 0, done.out + done.err
    (folder,) = [path.parent for path in storage.glob("*/sweep.json")]
    endings = folder / "endings.jsonl"
    num_trials = len(endings.read_text().splitlines())
    assert num_trials == 2
    # the last trial runs again, as after a kill before its first checkpoint
    lines = endings.read_text().splitlines(keepends=True)
    endings.write_text("".join(lines[:-1]))
    number = json.loads(lines[-1])["number"]
    for run in folder.glob(f"{folder.name}-{number:03d}*"):
        shutil.rmtree(run)
    monkeypatch.chdir(elsewhere)
    resumed = command("sweep", folder, "--resume", "--summary", "-")
    assert resumed.code == 0, resumed.out + resumed.err
    assert json.loads(resumed.out)["num_finished"] == 2
    assert len(endings.read_text().splitlines()) == 2
    assert json.loads((folder / "summary.json").read_text())["num_finished"] == 2
