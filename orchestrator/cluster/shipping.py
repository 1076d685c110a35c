"""What travels with a job: the packages, and the user's own files."""

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
#: more than this in single files is data, which belongs on storage that the cluster reads
MOST_BYTES = 100_000_000


@contextmanager
def staged_modules() -> Iterator[list[str]]:
    """The folders of our packages, and one that says which version they are, as an installed package has."""
    folders = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None, f"{package} is imported here"
        assert spec.submodule_search_locations is not None, f"{package} is a package"
        folders.append(str(Path(spec.submodule_search_locations[0]).resolve()))
    with TemporaryDirectory() as temporary:
        about = Path(temporary) / f"sparsefleet-{installed_version()}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: sparsefleet\nVersion: {installed_version()}\n"
        )
        yield [*folders, str(about)]


@contextmanager
def staged_files(base: Path, files: Sequence[Path]) -> Iterator[str | None]:
    """A folder with copies of these files of `base` alone, at the same places; None for no files.

    Raises RequestError for more bytes than a command's files come to.
    """
    sizes = {file: (base / file).stat().st_size for file in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda file: sizes[file])
        raise RequestError(
            "COMMAND",
            largest,
            f"the files that it names have {format_bytes(sum(sizes.values()))}, and a job takes "
            f"{format_bytes(MOST_BYTES)} along",
            "put data on storage that the cluster's machines share, and name it by its absolute path there",
        )
    if not files:
        yield None
        return
    with TemporaryDirectory() as temporary:
        for file in files:
            (Path(temporary) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / file, Path(temporary) / file)
        yield temporary
