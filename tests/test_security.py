"""Stored files cannot run code, other users cannot read files, and no service accepts connections by default."""

import ast
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import ray

from orchestrator.cli.main import run_command_line
from orchestrator.cli.mlflow_ui import _running, server_command
from orchestrator.private_files import require_private_token, token_file
from tests.support.command import QUICK
from tests.support.secret_search import readable_by_others

ROOT = Path(__file__).parents[1]
SOURCES = [
    p for package in ("orchestrator", "algorithms", "search_spaces") for p in (ROOT / package).rglob("*.py")
]
#: modules that can run code from data
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "torch.save", "np.savez", "yaml.unsafe_load", "pd.read_pickle"}
#: the first pickles a method only in memory, to check that Ray can send it; the second only writes, for mlflow.pytorch
MAY_PICKLE = {"orchestrator/contract/repeatable.py", "orchestrator/tracking/mlflow/torch_file.py"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def argument(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_runs_code_from_data(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    if str(path.relative_to(ROOT)) not in MAY_PICKLE:
        assert not imported & MODULES
    for name, call in calls(tree):
        assert name not in CALLS, f"line {call.lineno}"
        if name == "np.save":
            assert argument(call, "allow_pickle") == "False"
        if name == "torch.load":
            assert argument(call, "weights_only") == "True", f"line {call.lineno}"
        if name == "np.load":
            assert argument(call, "allow_pickle") in (None, "False"), f"line {call.lineno}"
        if name == "yaml.load":
            loader = argument(call, "Loader") or ""
            assert loader.endswith(("SafeLoader", "BaseLoader", "PlainLoader")), f"line {call.lineno}"
        assert argument(call, "shell") != "True", f"line {call.lineno}"


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_local_ray_rejects_connections_without_its_token(tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    join = f"import ray; ray.init({address!r}, logging_level='ERROR', log_to_driver=False); print('joined')"
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")} | {"HOME": str(tmp_path)}
    found = {}
    for mode in ("disabled", "token"):
        environment = {**stranger, "RAY_AUTH_MODE": mode}
        found[mode] = subprocess.run(
            [sys.executable, "-c", join],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert all(done.returncode and "joined" not in done.stdout for done in found.values())
    assert "no authentication token was found" in found["token"].stderr


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """Other users may read every file whose maker does not say otherwise."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


@pytest.mark.usefixtures("usual_umask")
def test_readable_files_are_found_below_open_folders_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / name).mkdir(mode=mode)
        (tmp_path / name / "file").write_text("")
    assert [*readable_by_others(tmp_path)] == [tmp_path / "open" / "file"]


@pytest.mark.usefixtures("usual_umask")
def test_tracked_run_leaves_no_file_that_other_users_can_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    storage = tmp_path / "runs"
    keys = (*QUICK, "tracking.enabled=true", "training.rounds=1", f"runtime.storage={storage}")
    assert run_command_line(["run", *keys]) == 0
    assert {"mlflow.db", "mlartifacts"} < {path.name for path in storage.iterdir()}
    assert [*readable_by_others(tmp_path)] == []
    (run,) = storage.glob("fedavg-*")
    assert not [path for path in run.iterdir() if path.is_file() and path.stat().st_mode & 0o077]


@pytest.mark.usefixtures("usual_umask")
def test_ui_and_its_server_leave_no_file_that_other_users_can_read(tmp_path: Path) -> None:
    """A small process replaces the server, which writes files in the same way."""
    tmp_path.chmod(0o755)
    server_command(tmp_path / "mlflow.db", "0.0.0.0", 5000, {"MLFLOW_AUTH_ADMIN_PASSWORD": "a long one"})
    code = f"open({str(tmp_path / 'mlflow-users.db')!r}, 'w').close()"
    with _running([sys.executable, "-c", code], os.environ, tmp_path / "mlflow-ui.log") as server:
        assert server.wait(60) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mlflow-auth.ini", "mlflow-users.db", "mlflow-ui.log"}
    assert [*readable_by_others(tmp_path)] == []


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray", "usual_umask")
def test_local_ray_leaves_no_file_that_other_users_can_read() -> None:
    """Ray opens its own folders to all users; the folder around them is closed."""
    session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[no-untyped-call]
    assert any(not folder.stat().st_mode & 0o077 for folder in session.parents)
    modes = {}
    for path in session.rglob("*"):
        with suppress(FileNotFoundError):  # Ray runs, and may rotate a log
            if stat.S_ISREG((found := path.lstat()).st_mode):
                modes[path] = found.st_mode
    assert len(modes) > 10
    # Tune's files of earlier sweeps have the umask of this process
    own = [path for path in modes if "artifacts" not in path.relative_to(session).parts]
    assert not [path for path in own if modes[path] & 0o077]
    require_private_token(token_file())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray", "usual_umask")
def test_sweep_leaves_no_file_that_other_users_can_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    storage = tmp_path / "runs"
    keys = (*QUICK, "training.rounds=1", "algorithm.name=[fedavg]", f"runtime.storage={storage}")
    assert run_command_line(["sweep", "smoke", *keys]) == 0
    assert [*storage.glob("smoke-*/sweep.json")]
    assert [*readable_by_others(tmp_path)] == []


def test_every_row_of_the_table_of_trust_has_its_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.split("## Who is trusted with what")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no test {name}"
