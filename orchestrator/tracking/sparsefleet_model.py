"""Loads a logged model. MLflow gets a copy of this file with each model, and imports the copy.

A process may run in a folder with a file `orchestrator.py`, which Python would import in place of the package. So
this file looks for the package itself. It must not import the package at its top.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_PACKAGE = "orchestrator"


def _load_pyfunc(data_path: str) -> Any:
    """Load the model in a folder. Raises ImportError when Sparsefleet is not installed."""
    if _PACKAGE not in sys.modules:
        _import_package()
    elif not _is_sparsefleet(list(getattr(sys.modules[_PACKAGE], "__path__", ()))):
        place = getattr(sys.modules[_PACKAGE], "__file__", None)
        raise ImportError(
            f"this process has imported another module {_PACKAGE} ({place}); rename that module"
        )
    return import_module(f"{_PACKAGE}.tracking.served_model")._load_pyfunc(data_path)


def load_module(files: dict[str, bytes]) -> Any:
    """Return the `torch.nn.Module` whose folder has these files, by relative path; `mlflow.pytorch` calls this.

    The module expects normalised inputs. Raises ImportError when Sparsefleet is not installed.
    """
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return _load_pyfunc(folder).module


def _import_package() -> None:
    for spec in _candidates():
        if spec.loader is not None and _is_sparsefleet(list(spec.submodule_search_locations or ())):
            module = module_from_spec(spec)
            sys.modules[_PACKAGE] = module
            spec.loader.exec_module(module)
            return
    raise ImportError("the model needs the package sparsefleet; install it in this environment")


def _candidates() -> Iterator[ModuleSpec]:
    """Yield all modules that have the package's name, from the whole import path and from editable installations."""
    for entry in sys.path:
        if spec := PathFinder.find_spec(_PACKAGE, [entry]):
            yield spec
    for finder in sys.meta_path:
        if spec := finder.find_spec(_PACKAGE, None):
            yield spec


def _is_sparsefleet(folders: list[str]) -> bool:
    return any((Path(folder) / "tracking" / "served_model.py").is_file() for folder in folders)
