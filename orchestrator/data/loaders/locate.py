"""Finds the files of a data set under `data.root`, or downloads them once into a cache in the home folder."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.config.sections import DataConfig
from orchestrator.errors import DataError
from orchestrator.formatting import format_bytes


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


def require_regular(config: DataConfig, file: Path) -> None:
    """Raise DataError for a pipe or a device, from which a loader might read without end."""
    if file.exists() and not file.is_file():
        problem = f"{file} is not a regular file"
        raise DataError("data.root", config.root, problem, "replace it with a file, or remove it")


def require_size(config: DataConfig, num_bytes: float, what: str) -> None:
    """Raise DataError if `what` would have more bytes in memory than `data.max_gib` allows."""
    if num_bytes > config.max_gib * 2**30:
        problem = f"{what} would take {format_bytes(num_bytes)} in memory"
        raise DataError(
            "data.max_gib", f"{config.max_gib:g}", problem, "use smaller data, or set a larger value"
        )


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
