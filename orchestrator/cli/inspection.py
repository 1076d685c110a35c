"""Looking around: what can be named, how a split looks, whether the machine is fit, and the MLflow UI."""

import importlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.config.errors import dotted_keys
from orchestrator.errors import ConfigError, RequestError, SparsefleetError
from orchestrator.experiment.config import ExperimentConfig

LOOPBACK = "127.0.0.1"
#: MLflow's basic-auth: whoever has a user name may look, `admin` may change
AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{users}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def listing(what: str, fleet: str | None = None, address: str | None = None) -> RenderableType:
    """Everything that a kind of key can name; of the fleets the one of that name or file, if one is given.

    Fleets are reckoned against the Ray cluster at `address` (None: this machine). Raises RequestError for a kind
    there is none of, for a fleet there is none of, and for a cluster that cannot be reached.
    """
    if what not in _LISTINGS:
        raise RequestError("WHAT", what, "there is no such list", f"choose one of {', '.join(_LISTINGS)}")
    if what == "fleets":
        return _fleets(fleet, address)
    if fleet is not None:
        raise RequestError("FLEET", fleet, "only fleets are shown one by one", "leave it out")
    if address is not None:
        raise RequestError("--address", address, "only fleets need a cluster", "leave it out")
    return _LISTINGS[what]()


def _algorithms() -> Table:
    from algorithms import algorithm_names, load_algorithm

    table = _table("algorithm", "what it is", "aggregation", "sparsity", "options")
    for name in algorithm_names():
        method = load_algorithm(name)
        options = [key for key in method.Config.model_fields if key != "name"]
        level = "dense" if method.default_level is None else f"{method.default_level:g}"
        summary = (method.__doc__ or "").strip().splitlines()[0]
        table.add_row(name, summary, method.aggregation, level, ", ".join(options) or "-")
    return table


def _models() -> Table:
    from orchestrator.models.registry import MODELS

    table = _table("model", "what it is")
    for name, entry in MODELS.items():
        table.add_row(name, entry.summary)
    return table


def _datasets() -> Table:
    from orchestrator.data.registry import DATASETS

    table = _table("data set", "what it is", "usual model", "data.root")
    for name, entry in DATASETS.items():
        table.add_row(
            name, entry.summary, entry.default_model or "by shape", "needed" if entry.needs_root else ""
        )
    return table


def _fleets(name: str | None = None, address: str | None = None) -> RenderableType:
    from orchestrator.cli.fleet_table import fleet_tables

    if address is None:
        return fleet_tables(name)
    from orchestrator.config.runtime import RuntimeConfig
    from orchestrator.execution.ray_capacity import cluster_capacity
    from orchestrator.runtime.ray_session import ray_session

    with ray_session(RuntimeConfig(address=address)):
        return fleet_tables(name, cluster_capacity())


def _spaces() -> Table:
    from orchestrator.sweeping.space import load_space, space_names, varying_keys

    table = _table("search space", "what it compares", "dimensions", "changed by pbt")
    for name in space_names():
        try:
            space = load_space(name)
        except ConfigError as error:  # another package's, which must not hide the rest
            table.add_row(name, str(error), "-", "-")
            continue
        dimensions, mutable = ", ".join(varying_keys(space.dimensions)), ", ".join(space.mutations)
        table.add_row(name, space.summary, dimensions, mutable or "-")
    return table


def _keys() -> Table:
    from algorithms import algorithm_names, load_algorithm

    table = _table("key", "default", "what it is")
    for key, (description, default) in dotted_keys(ExperimentConfig).items():
        if key != "algorithm.name":
            table.add_row(key, str(default), description)
    table.add_row("algorithm.name", "fedavg", "registry name, path/to/file.py:Class or package.module:Class")
    for name in algorithm_names():
        for key, (description, default) in dotted_keys(load_algorithm(name).Config, "algorithm").items():
            if key != "algorithm.name":
                table.add_row(key, str(default), f"{name}: {description}")
    return table


_LISTINGS: dict[str, Callable[[], RenderableType]] = {
    "algorithms": _algorithms,
    "models": _models,
    "datasets": _datasets,
    "fleets": _fleets,
    "spaces": _spaces,
    "keys": _keys,
}


def partition_table(config: ExperimentConfig) -> RenderableType:
    """One row per client, with its parts and its classes; then the lines on what was left out.

    Raises a RequestError when the split cannot be made.
    """
    from orchestrator.data.partition import make_partition
    from orchestrator.data.registry import load_dataset
    from orchestrator.federation.seeds import stream

    dataset = load_dataset(config.data)
    split = make_partition(dataset, config.data, config.fleet.num_clients, stream(config.seed, "partition"))
    columns = split.table(dataset)
    classes = [name for name in columns if name.startswith("class_")]
    table = _table("client", "train", "validation", "test", "training samples by class")
    for k in range(split.num_distinct):
        counts = [(name.removeprefix("class_"), int(columns[name][k])) for name in classes]
        held = "  ".join(f"{label}:{count}" for label, count in counts if count)
        parts = [str(columns[f"num_{part}"][k]) for part in ("train", "validation", "test")]
        table.add_row(str(k), *parts, held)
    repeated = f"; {split.num_clients} clients repeat them" if split.num_distinct < split.num_clients else ""
    table.caption = f"{config.data.name}, {split.kind}{repeated}; fingerprint {split.fingerprint()[:16]}"
    return Group(table, *(Text(line) for line in (*dataset.notes, *split.notes)))


def checkup(storage: Path) -> tuple[Table, bool]:
    """A table of checks with what was found, and whether all passed."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: sys.version.split()[0]),
        *((name, _import_check(name)) for name in ("torch", "torchvision", "ray", "mlflow")),
        ("cores", lambda: str(os.cpu_count())),
        ("memory", _memory),
        ("GPU", _gpu),
        ("storage", lambda: _writable(storage)),
        ("Ray starts", _ray_starts),
    ]
    table, healthy = _table("check", "", "found"), True
    for name, check in checks:
        try:
            found, good = check(), True
        except (SparsefleetError, ImportError, PackageNotFoundError, OSError, RuntimeError) as error:
            found, good = f"{type(error).__name__}: {' '.join(str(error).split())}", False
        healthy &= good
        table.add_row(name, "[green]ok[/]" if good else "[red]wrong[/]", found)
    return table, healthy


def serve_ui(storage: Path, port: int, host: str = LOOPBACK) -> NoReturn:
    """Become the MLflow UI on the store in a folder. Raises a RequestError when it may not be shown so."""
    database = storage.resolve() / "mlflow.db"
    if not database.is_file():
        raise ConfigError("--storage", storage, "it has no MLflow store", "run an experiment first")
    command, environment = ui_command(database, host, port, os.environ)
    shown = f"[{host}]" if ":" in host else host
    print(f"MLflow UI on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
    os.execve(sys.executable, command, dict(environment))


def ui_command(
    database: Path, host: str, port: int, environment: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """The words and the environment of the MLflow UI on a database; beyond this machine it asks for a password.

    Raises RequestError when none is set for it.
    """
    command = [
        sys.executable,
        *("-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database}"),
    ]
    # nothing here runs in MLflow's background job queue, whose workers would only slow the start
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    if host in (LOOPBACK, "localhost", "::1"):
        return command, environment
    users = database.with_name("mlflow-users.db")
    if not environment.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        problem = "beyond this machine the UI asks for a password, and none is set"
        raise RequestError("--host", host, problem, "set MLFLOW_AUTH_ADMIN_PASSWORD, or use an SSH tunnel")
    settings = database.with_name("mlflow-auth.ini")
    settings.write_text(AUTH_SETTINGS.format(users=users))
    secret = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # it does not know the names that others call this machine by
    }
    return [*command, "--app-name", "basic-auth"], {**environment, **secret}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
