"""A user's file with the files of its folder that it imports."""

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

#: the project's own packages; a user's file always imports these, whatever its folder contains
OWN_PACKAGES = ("orchestrator", "algorithms", "search_spaces")


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """A file that a config names as `named` and that is at `path`, and all files that it needs.

    `files` maps the name of each file, relative to the folder of `path` and with slashes, to its content.
    """

    named: str
    path: Path
    files: Mapping[str, bytes]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by its relative name."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(self.files.items())}


def read_sources(named: str, path: Path) -> SourceFiles:
    """Read a Python file and its neighbours: the modules and packages of its folder that it imports, directly or not.

    The function follows all import statements, also those inside functions. It reads a neighbour package as a whole.
    Neighbours cannot replace the standard library or Sparsefleet. Raises OSError for a file that cannot be read.
    """
    folder, pending, files = path.parent, [path], dict[str, bytes]()
    while pending:
        file = pending.pop()
        name = file.relative_to(folder).as_posix()
        if name not in files:
            files[name] = file.read_bytes()
            for module in _imported_neighbours(files[name], file.parent, folder):
                pending += _neighbour_files(folder, module)
    return SourceFiles(named, path, files)


def is_own_or_standard(module: str) -> bool:
    """Whether a top-level module belongs to the standard library or to Sparsefleet."""
    return module in OWN_PACKAGES or module in sys.stdlib_module_names


def _imported_neighbours(content: bytes, package: Path, folder: Path) -> Iterator[str]:
    """Yield the top-level modules of `folder` that a file of the folder `package` may import."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return  # the import of the file reports the error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and _starts_at(node.level, package, folder):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (name.partition(".")[0] for name in names)


def _starts_at(level: int, package: Path, folder: Path) -> bool:
    """Whether an import with `level` dots, in a file of `package`, names a module of `folder`."""
    return level == 0 or [package, *package.parents][level - 1 : level] == [folder]


def _neighbour_files(folder: Path, module: str) -> list[Path]:
    """Return the files of a top-level module of the folder; [] if the folder does not have such a module."""
    if is_own_or_standard(module):
        return []
    if (folder / module / "__init__.py").is_file():
        return _package_files(folder / module)
    if (folder / f"{module}.py").is_file():
        return [folder / f"{module}.py"]
    # a folder without __init__.py may contain anything, so an installed package of this name takes precedence
    if any((folder / module).glob("*.py")) and not _is_importable(module):
        return _package_files(folder / module)
    return []


def _package_files(package: Path) -> list[Path]:
    return sorted(
        file
        for file in package.rglob("*.py")
        if not any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(package).parts)
    )


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module without a spec is imported already
        return True
