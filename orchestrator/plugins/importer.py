"""Imports users' files from the contents that this process has read, or got from another process.

Each folder with users' files is a package with a private name. Its modules are the named files and their neighbours.
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

from orchestrator.plugins.rewriting import parse_with_relative_imports
from orchestrator.plugins.source_files import SourceFiles, is_own_or_standard

#: the names of all modules from users' files start with this prefix
PREFIX = "sparsefleet_plugin_"


@dataclass(slots=True)
class _Folder:
    """The files of one folder; `modules` maps the dotted name of a module in the folder to the name of its file."""

    path: Path
    files: dict[str, bytes] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)


_FOLDERS: dict[str, _Folder] = {}


def module_name(path: Path) -> str:
    """Return the name of the module that the file at an absolute path becomes."""
    return f"{_package_name(path.parent)}.{_dotted(path.name)}"


def add_sources(sources: SourceFiles) -> SourceFiles:
    """Make a user's file and its neighbours importable in this process.

    A file of the folder that this process knows already keeps its content. Returns the sources with the contents that
    this process uses.
    """
    if _IMPORTER not in sys.meta_path:
        sys.meta_path.append(_IMPORTER)
    folder = _FOLDERS.setdefault(_package_name(sources.path.parent), _Folder(sources.path.parent))
    for name, content in sources.files.items():
        folder.files.setdefault(name, content)
        folder.modules[_dotted(name)] = name
    return replace(sources, files={name: folder.files[name] for name in sources.files})


def forget_sources(sources: SourceFiles) -> None:
    """Forget a user's file whose import failed, and its neighbours, so that the next import reads them again."""
    package = _package_name(sources.path.parent)
    for name in sources.files:
        _FOLDERS[package].files.pop(name, None)
        _FOLDERS[package].modules.pop(_dotted(name), None)
        sys.modules.pop(f"{package}.{_dotted(name)}", None)


def shipped_modules() -> tuple[ModuleType, ...]:
    """Return the modules that this process loaded from users' files. Other processes cannot import them by name."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(PREFIX)]
    return tuple(module for module in modules if module.__spec__ and module.__spec__.loader is _IMPORTER)


def _package_name(folder: Path) -> str:
    return PREFIX + hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()


def _dotted(name: str) -> str:
    """Return the dotted module name of a file's relative name: `layers/block.py` -> `layers.block`."""
    parts = [re.sub(r"\W", "_", part) for part in name.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


class _PluginImporter(MetaPathFinder, InspectLoader):
    """Finds and loads the modules of all folders in `_FOLDERS`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a user's module, of a package of users' modules, or None for any other module."""
        package, _, module = fullname.partition(".")
        folder = _FOLDERS.get(package)
        if folder is None:
            return None
        name = folder.modules.get(module)
        if name is None:
            is_package = not module or any(known.startswith(f"{module}.") for known in folder.modules)
            return ModuleSpec(fullname, None, is_package=True) if is_package else None
        spec = spec_from_loader(
            fullname, self, origin=str(folder.path / name), is_package=self.is_package(fullname)
        )
        if spec is not None:
            spec.has_location = True
        return spec

    def is_package(self, fullname: str) -> bool:
        """Whether a module is the `__init__.py` of a neighbour package."""
        return self._file(fullname)[1].endswith("/__init__.py")

    def get_source(self, fullname: str) -> str:
        """Return the text of a module as the user wrote it, for tracebacks."""
        folder, name = self._file(fullname)
        return decode_source(folder.files[name])

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module; its imports of neighbours are relative."""
        folder, name = self._file(fullname)
        own = _dotted(name)
        neighbours = {module.partition(".")[0] for module in folder.modules if module != own}
        tree = parse_with_relative_imports(
            folder.files[name],
            str(folder.path / name),
            {module for module in neighbours if not is_own_or_standard(module)},
            level=name.count("/") + 1,
        )
        return compile(tree, str(folder.path / name), "exec", dont_inherit=True)

    def _file(self, fullname: str) -> tuple[_Folder, str]:
        package, _, module = fullname.partition(".")
        folder = _FOLDERS[package]
        return folder, folder.modules[module]


_IMPORTER = _PluginImporter()
