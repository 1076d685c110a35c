"""Collect what Ray uploads with a job: the project's packages and the user's own files."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.errors import RequestError
from orchestrator.formatting import format_bytes
from orchestrator.version import installed_version

PACKAGES = ("orchestrator", "algorithms", "search_spaces")
#: limit for the sum of all single files; larger files are data, which belongs on storage that the cluster shares
MAX_BYTES = 100_000_000


@contextmanager
def staged_modules() -> Iterator[list[str]]:
    """Yield the folders of the project's packages, and a metadata folder with their version.

    The metadata folder gives the job the version that an installed package has.
    """
    folders = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None, f"{package} can be imported"
        assert spec.submodule_search_locations is not None, f"{package} is a package"
        folders.append(str(Path(spec.submodule_search_locations[0]).resolve()))
    with TemporaryDirectory() as temporary:
        metadata = Path(temporary) / f"sparsefleet-{installed_version()}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: sparsefleet\nVersion: {installed_version()}\n"
        )
        yield [*folders, str(metadata)]


@contextmanager
def staged_files(base: Path, files: Sequence[Path]) -> Iterator[str | None]:
    """Yield a temporary folder with copies of `files`, at the same relative paths as in `base`; None for no files.

    Raises RequestError when the files have more than `MAX_BYTES` in total.
    """
    sizes = {file: (base / file).stat().st_size for file in files}
    if sum(sizes.values()) > MAX_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise RequestError(
            "COMMAND",
            largest,
            f"the files that the command names have {format_bytes(sum(sizes.values()))}, and a job may upload "
            f"{format_bytes(MAX_BYTES)}",
            "put data on storage that all machines of the cluster share, and give its absolute path there",
        )
    if not files:
        yield None
        return
    with TemporaryDirectory() as temporary:
        for file in files:
            (Path(temporary) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / file, Path(temporary) / file)
        yield temporary
