"""Shell completion of arguments: runs, config keys and the names of lists."""

from pathlib import Path


def list_names(incomplete: str) -> list[str]:
    """Return the lists of `sparsefleet list` that start with the text."""
    from orchestrator.cli.views.listings import LISTS

    return [name for name in LISTS if name.startswith(incomplete)]


def run_names(incomplete: str) -> list[str]:
    """Return the ids of the runs in the folder `runs` that start with the text, the newest first."""
    from orchestrator.storage.folders import is_run

    folders = [folder for folder in Path("runs").glob(f"{incomplete}*") if is_run(folder)]
    return [
        folder.name for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    ]


def config_keys(incomplete: str) -> list[str]:
    """Return `KEY=` for each config key that starts with the text."""
    from orchestrator.cli.views.listings import listing_records

    names = [str(record["key"]) for record in listing_records("keys")]
    return [f"{name}=" for name in names if name.startswith(incomplete)]
