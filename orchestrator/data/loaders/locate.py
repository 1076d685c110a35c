"""Where the data lies: under `data.root`, or downloaded once into a cache in the home folder."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.config.sections import DataConfig
from orchestrator.errors import DataError


def cache_folder() -> Path:
    """Where downloads go when `data.root` is None."""
    return Path.home() / ".cache" / "sparsefleet"


def existing_root(config: DataConfig, layout: str) -> Path:
    """`data.root`, which must exist; `layout` says what is looked for there. Raises DataError."""
    assert config.root is not None
    root = config.root.expanduser()
    if not root.exists():
        raise DataError("data.root", config.root, "there is no such file or folder", f"point it at {layout}")
    return root


def root_or_download(config: DataConfig, layout: str, download: Callable[[Path], object]) -> Path:
    """The folder to read from; `download(folder)` is called when `data.root` is None. Raises DataError."""
    if config.root is not None:
        return existing_root(config, layout)
    root = cache_folder()
    try:
        download(root)
    except (OSError, RuntimeError) as error:
        problem = f"the download of {config.name} into {root} failed ({' '.join(str(error).split())})"
        raise DataError(
            "data.root", None, problem, f"point it at {layout}, or use data.name=digits"
        ) from error
    return root
