"""Finds the files of a data set under `data.root`, or downloads them once into a cache in the home folder."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.config.sections import DataConfig
from orchestrator.errors import DataError


def cache_folder() -> Path:
    """Return the folder for downloads when `data.root` is None."""
    return Path.home() / ".cache" / "sparsefleet"


def existing_root(config: DataConfig, layout: str) -> Path:
    """Return `data.root`. Raises DataError when it does not exist; `layout` describes the expected files."""
    assert config.root is not None
    root = config.root.expanduser()
    if not root.exists():
        raise DataError("data.root", config.root, "there is no such file or folder", f"point it at {layout}")
    return root


def root_or_download(config: DataConfig, layout: str, download: Callable[[Path], object]) -> Path:
    """Return the folder to read from; when `data.root` is None, call `download(folder)` first. Raises DataError."""
    if config.root is not None:
        return existing_root(config, layout)
    root = cache_folder()
    try:
        download(root)
    except (OSError, RuntimeError) as error:
        problem = f"the download of {config.name} into {root} failed ({' '.join(str(error).split())})"
        remedy = f"point it at {layout}, or use data.name=digits"
        raise DataError("data.root", None, problem, remedy) from error
    return root
