"""What `sparsefleet doctor` checks: whether experiments can run on this machine."""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.text import Text

from orchestrator.cli.views.tables import PlainTable
from orchestrator.errors import SparsefleetError


def checkup(storage: Path) -> tuple[PlainTable, bool]:
    """Return a table with the result of each check, and whether all checks passed."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: sys.version.split()[0]),
        *((name, _import_check(name)) for name in ("torch", "torchvision", "ray", "mlflow")),
        ("cores", lambda: str(os.cpu_count())),
        ("memory", _memory),
        ("GPU", _gpu),
        ("storage", lambda: _writable(storage)),
        ("Ray starts", _ray_starts),
        ("Ray's token", _ray_token),
        ("Ray's files", _ray_files),
    ]
    table, healthy = PlainTable("check", "result", "found"), True
    for name, check in checks:
        try:
            found, passed = check(), True
        except (SparsefleetError, ImportError, PackageNotFoundError, OSError, RuntimeError) as error:
            found, passed = f"{type(error).__name__}: {' '.join(str(error).split())}", False
        healthy &= passed
        table.add(name, Text("ok", "green") if passed else Text("failed", "red"), found)
    return table, healthy


def _import_check(name: str) -> Callable[[], str]:
    def check() -> str:
        importlib.import_module(name)
        return version(name)

    return check


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{total / 2**30:.1f} GiB"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none (not needed)"


def _writable(storage: Path) -> str:
    storage.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=storage):
        free = shutil.disk_usage(storage).free / 2**30
    return f"{storage.resolve()} is writable, {free:.0f} GiB free"


def _ray_starts() -> str:
    from orchestrator.config.runtime import RuntimeConfig
    from orchestrator.execution.ray_capacity import cluster_capacity
    from orchestrator.runtime.ray_session import ray_session

    with ray_session(RuntimeConfig()):
        capacity = cluster_capacity()
        return f"{capacity.total('CPU'):g} CPU, {capacity.total('memory') / 2**30:.1f} GiB for actors"


def _ray_token() -> str:
    from orchestrator.private_files import require_private_token, token_file

    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return "none: RAY_AUTH_MODE=disabled lets everyone on the network run code in a local Ray"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "from the variable RAY_AUTH_TOKEN"
    file = token_file()
    require_private_token(file)
    return f"only this user can read {file}"


def _ray_files() -> str:
    from orchestrator.private_files import require_private_session, temporary_folder

    session = require_private_session(Path(temporary_folder()[1]) / "ray")
    return (
        "no Ray of `ray start` on this machine" if session is None else f"only this user can read {session}"
    )
