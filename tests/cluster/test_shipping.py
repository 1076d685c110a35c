"""The files of a job: the project's packages with their version, and copies of the user's files."""

import sys
from importlib import import_module
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.runtime_env.packaging import create_package

from orchestrator.cluster.ray_job_process import prepare_worker
from orchestrator.cluster.shipping import (
    FILES_FOLDER,
    MAX_BYTES,
    PACKAGES,
    WORKER_HOOK,
    enter_files,
    staged_files,
    staged_folder,
    staged_modules,
)
from orchestrator.errors import RequestError
from orchestrator.version import installed_version


def test_modules_are_the_packages_and_their_version() -> None:
    with staged_modules() as folders:
        *packages, metadata = map(Path, folders)
        assert [folder.name for folder in packages] == [*PACKAGES]
        assert all((folder / "__init__.py").is_file() for folder in packages)
        found = Distribution.at(metadata)
        assert (found.metadata["Name"], found.version) == ("sparsefleet", installed_version())
    assert not metadata.exists()


def test_files_keep_their_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text("x = 1\n")
    (tmp_path / "space.py").write_text("SPACE = {}\n")
    (tmp_path / "secret.txt").write_text("no\n")
    with staged_files(tmp_path, [Path("code/mine.py"), Path("space.py")]) as name:
        assert name is not None
        folder = Path(name) / FILES_FOLDER
        copies = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
        assert copies == {"code/mine.py": "x = 1\n", "space.py": "SPACE = {}\n"}
    assert not folder.exists()


def test_no_file_needs_no_folder(tmp_path: Path) -> None:
    with staged_files(tmp_path, []) as folder:
        assert folder is None


def test_sum_of_the_files_is_limited_and_the_largest_is_named(tmp_path: Path) -> None:
    """Two files of 60 and 40 million bytes fit exactly; one byte more does not."""
    for name, size in (("a.npz", MAX_BYTES * 6 // 10), ("b.npz", MAX_BYTES * 4 // 10)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "one.byte").write_bytes(b"1")
    files = [Path("one.byte"), Path("b.npz"), Path("a.npz")]
    with pytest.raises(RequestError) as caught, staged_files(tmp_path, files):
        pytest.fail("more than the limit was copied")
    assert (caught.value.field, caught.value.value) == ("COMMAND", Path("a.npz"))
    with staged_files(tmp_path, files[1:]) as name:
        assert name is not None
        assert sum(path.stat().st_size for path in (Path(name) / FILES_FOLDER).iterdir()) == MAX_BYTES


def test_ray_packs_the_files_of_a_whole_folder(tmp_path: Path) -> None:
    """Ray follows the link to the folder, and reads the folder's own .gitignore."""
    (tmp_path / "code").mkdir()
    for name in ("random.py", "code/mine.py", "big.bin"):
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("*.bin\n")
    package = tmp_path.parent / "package.zip"
    with staged_folder(tmp_path) as folder:
        create_package(folder, package, include_gitignore=True)
    with ZipFile(package) as files:
        names = {f"{FILES_FOLDER}/{name}" for name in ("random.py", "code/mine.py", ".gitignore")}
        assert set(files.namelist()) == names


def test_modules_of_the_files_are_imported_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "installed"])
    enter_files()  # a job without files
    assert Path.cwd() == tmp_path
    (tmp_path / FILES_FOLDER).mkdir()
    enter_files()
    assert Path.cwd() == tmp_path / FILES_FOLDER
    assert sys.path == [str(tmp_path), "installed", str(tmp_path / FILES_FOLDER)]


def test_ray_finds_the_function_of_the_hook() -> None:
    module, _, name = WORKER_HOOK.rpartition(".")
    assert getattr(import_module(module), name) is prepare_worker
