"""Imports the packages next to `orchestrator`, although the user's folder may contain packages of the same names."""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def import_own_package(name: str, attribute: str) -> None:
    """Import the project's package `name` before Python looks for it in the user's folder.

    The first entry of `sys.path` is often the user's folder, and a folder `algorithms` is common. `attribute` is a
    name that the project's package defines. Raises ImportError when another package of this name is imported already.
    """
    file = Path(__file__).parents[2] / name / "__init__.py"
    if name not in sys.modules and file.is_file():
        spec = spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
        assert spec is not None, "a .py file always has a loader"
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    # Ray unpacks each package of a job into a folder of its own
    found = import_module(name)
    if not hasattr(found, attribute):
        place = getattr(found, "__file__", None) or list(found.__path__)
        raise ImportError(
            f"the imported package {name} is not Sparsefleet's ({place}); import orchestrator first, or rename it"
        )
