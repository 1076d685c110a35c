"""The commands that inspect without running: `list`, `partition`, `doctor` and `ui`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.options import (
    AsJson,
    ConfigSources,
    Overrides,
    Storage,
    StorageFile,
    StorageKey,
    StorageOption,
    chosen_storage,
)
from orchestrator.cli.views.completions import list_names
from orchestrator.errors import RequestError

LIST_HELP = """
List the algorithms, models, data sets, fleets, search spaces, presets or studies, or all config keys with their \
defaults.

For fleets, the command also shows the resources that 100 clients would reserve on this machine, or on the Ray \
cluster at --address.

Examples:

  sparsefleet list algorithms

  sparsefleet list keys

  sparsefleet list keys training.

  sparsefleet list presets

  sparsefleet list fleets five-tier --address auto
"""

PARTITION_HELP = """
Show how a config partitions the samples over the clients, without running the experiment.

The table has a row for each client: its training, validation and test samples, and its training samples of each class.

Examples:

  sparsefleet partition data.partition.alpha=0.1

  sparsefleet partition data.partition.kind=shards fleet.num_clients=10
"""

UI_HELP = """
Open the MLflow UI on the runs in a folder. Ctrl-C stops the UI.

By default, only this machine can open the UI. To let other machines open it, set MLFLOW_AUTH_ADMIN_PASSWORD and use \
--host 0.0.0.0; the user name is `admin`.

Examples:

  sparsefleet ui

  sparsefleet ui --storage /shared/runs --port 5001
"""

DOCTOR_HELP = """
Check this machine: packages, cores, memory, GPU, storage, Ray, and who can read Ray's token and the files \
of `ray start`. Exits with 1 when a check fails.

The command starts a local Ray for a moment, and reports the resources that actors can use.

Examples:

  sparsefleet doctor

  sparsefleet doctor --storage /shared/runs
"""


def list_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="algorithms, models, datasets, fleets, spaces, presets, studies or keys.",
            autocompletion=list_names,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="fleets: only this fleet, a name or a file. keys: only the keys that start with this.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Compare fleets with the Ray cluster at `auto` or host:port."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Implement `sparsefleet list`; LIST_HELP is its help text."""
    from orchestrator.cli.views.listings import listing, listing_records
    from orchestrator.cli.views.tables import json_text

    if as_json:
        if address is not None:
            problem = "the JSON of a list does not depend on a cluster"
            raise RequestError("--address", address, problem, "leave it out")
        print(json_text(listing_records(what, name)))
        return
    Console().print(listing(what, name, address))


def partition_command(
    overrides: Overrides = None, config: ConfigSources = None, as_json: AsJson = False
) -> None:
    """Implement `sparsefleet partition`; PARTITION_HELP is its help text."""
    from orchestrator.cli.views.partition_table import partition_json, partition_table
    from orchestrator.cli.views.tables import json_text
    from orchestrator.experiment.loading import load_config

    loaded = load_config(config, overrides or [])
    if as_json:
        print(json_text(partition_json(loaded)))
        return
    Console().print(partition_table(loaded))


def ui_command(
    overrides: StorageKey = None,
    config: StorageFile = None,
    storage: StorageOption = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Any address but this machine's own requires a password."),
    ] = "127.0.0.1",
    experiment: Annotated[
        str | None,
        typer.Option(help="Open the runs of this MLflow experiment (default: that of the newest run)."),
    ] = None,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser",
            help="Open the page in a browser (default: on a terminal of a desktop).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Implement `sparsefleet ui`; UI_HELP is its help text."""
    import webbrowser

    from orchestrator.cli.mlflow_ui import has_desktop, serve_ui
    from orchestrator.storage.lookup import only_storage_key

    folder = chosen_storage(storage, only_storage_key(overrides or ()), config)
    show = webbrowser.open if (has_desktop() if browser is None else browser) else None
    serve_ui(folder, port, host, experiment=experiment, show=show)


def doctor_command(storage: Storage = Path("runs"), as_json: AsJson = False) -> None:
    """Implement `sparsefleet doctor`; DOCTOR_HELP is its help text."""
    from orchestrator.cli.views.checkup import checkup
    from orchestrator.cli.views.tables import json_text

    table, healthy = checkup(storage)
    if as_json:
        print(json_text(table.records))
    else:
        Console().print(table)
    if not healthy:
        raise typer.Exit(1)
