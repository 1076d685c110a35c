"""Place and digest of the package's source, so that a process on another node can reject another version."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import ClusterError

#: the packages that every process of a run imports
_PACKAGES = ("orchestrator", "algorithms")
_SUFFIXES = (".py", ".yaml")
#: variable with the digest of the package that `submit` uploads
SOURCE_VARIABLE = "SPARSEFLEET_SOURCE"


class PackageSource(NamedTuple):
    """The folder from which a process imports `orchestrator`, and the SHA-256 of all source files of the project."""

    place: str
    digest: str


@cache
def package_source() -> PackageSource:
    """The source of this process. Reads all files at the first call, which takes about 15 ms."""
    folders = {name: package_folder(name) for name in _PACKAGES}
    return PackageSource(str(folders["orchestrator"]), source_digest(folders))


def package_folder(name: str) -> Path:
    """The folder of one of the project's packages, without an import; Ray unpacks each package of a job elsewhere."""
    if (module := sys.modules.get(name)) is not None:
        return Path(module.__path__[0])
    neighbour = Path(__file__).parents[2] / name
    if neighbour.is_dir():
        return neighbour
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ClusterError(f"the package {name} of Sparsefleet is missing on node {platform.node()}")
    return Path(spec.submodule_search_locations[0])


def source_digest(folders: Mapping[str, Path]) -> str:
    """SHA-256 of names and contents of the source files in these packages, independent of the packages' places."""
    digest = sha256()
    for package, folder in sorted(folders.items()):
        for name, path in sorted(_sources(folder)):
            content = path.read_bytes()
            digest.update(f"{package}/{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def require_same_source(expected: PackageSource) -> None:
    """Raise ClusterError, with both places, if this process has other source than the command that started the work.

    The same source may be in another folder: a job imports the package from the folder to which Ray has uploaded it.
    """
    found = package_source()
    if found.digest != expected.digest:
        remedy = (
            "if the code was changed after the start, start the command again"
            if found.place == expected.place
            else "install the same version on all nodes, or start the command with `sparsefleet submit`"
        )
        raise ClusterError(
            f"a process on node {platform.node()} imports other code of Sparsefleet than the command: {found.place} "
            f"(SHA-256 {found.digest[:12]}) instead of {expected.place} ({expected.digest[:12]}); {remedy}"
        )


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = Path(place, name)
            if name.endswith(_SUFFIXES) and path.is_file():  # an editor's lock is a link that leads nowhere
                yield path.relative_to(folder).as_posix(), path
