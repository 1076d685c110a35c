"""Collect what Ray uploads with a job: the project's packages and the user's own files."""

import os
import shutil
import sys
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
#: Folder of the user's files inside of the job's folder. Python imports from a job's folder before everything else, so
#: that a file `random.py` there would replace Python's own module in all processes of the job.
FILES_FOLDER = "sparsefleet_job_files"
#: the function that Ray calls in every worker process of a job
WORKER_HOOK = "orchestrator.cluster.ray_job_process.prepare_worker"


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
    """Yield a temporary folder for the job; None for no files.

    It has copies of `files` in `FILES_FOLDER`, at the same relative paths as in `base`.
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
        folder = Path(temporary) / FILES_FOLDER
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / file, folder / file)
        yield temporary


@contextmanager
def staged_folder(folder: Path) -> Iterator[str]:
    """Yield a temporary folder for the job in which `FILES_FOLDER` is a link to `folder`; Ray follows the link."""
    with TemporaryDirectory() as temporary:
        (Path(temporary) / FILES_FOLDER).symlink_to(folder.resolve(), target_is_directory=True)
        yield temporary


def enter_files() -> None:
    """Change from the job's folder to the user's files, if there are any; import their modules after all others."""
    if Path(FILES_FOLDER).is_dir():
        os.chdir(FILES_FOLDER)
        sys.path.append(os.getcwd())
