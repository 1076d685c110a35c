"""Stored files cannot run code, and by default no service accepts connections from other machines."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

ROOT = Path(__file__).parents[1]
SOURCES = [
    p for package in ("orchestrator", "algorithms", "search_spaces") for p in (ROOT / package).rglob("*.py")
]
#: modules that can run code from data
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "torch.save", "np.save", "np.savez", "yaml.unsafe_load", "pd.read_pickle"}
#: pickles a method only in memory, to check that Ray can send it
MAY_PICKLE = {"orchestrator/contract/repeatable.py"}


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
