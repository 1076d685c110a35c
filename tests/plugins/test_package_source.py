"""The digest of the package's source: the same in every place, and another for each changed, added or lost file."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ClusterError
from orchestrator.plugins.package_source import (
    PackageSource,
    package_folder,
    package_source,
    require_same_source,
    source_digest,
)

PROJECT = Path(__file__).parents[2]


def package(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n")
    (folder / "sub" / "preset.yaml").write_text("seed: 3\n")
    return folder


def digest(folder: Path) -> str:
    return source_digest({"package": folder})


def test_equal_files_in_another_place_have_the_same_digest(tmp_path: Path) -> None:
    one, other = package(tmp_path / "one"), package(tmp_path / "other" / "place")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "x.py").write_text("compiled")
    (other / "notes.txt").write_text("no source")
    (other / ".#editing.py").symlink_to("user@host.1234")
    assert digest(one) == digest(other)
    assert source_digest({"package": one}) != source_digest({"renamed": one})


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "__init__.py").write_text("x = 2\n"),
        lambda folder: (folder / "sub" / "preset.yaml").write_text("seed: 4\n"),
        lambda folder: (folder / "new.py").write_text(""),
        lambda folder: (folder / "sub" / "preset.yaml").unlink(),
        lambda folder: (folder / "__init__.py").rename(folder / "sub" / "__init__.py"),
    ],
)
def test_every_change_of_a_source_gives_another_digest(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    one, other = package(tmp_path / "one"), package(tmp_path / "other")
    change(other)
    assert digest(one) != digest(other)


def test_process_has_the_source_of_its_own_packages() -> None:
    source = package_source()
    assert source.place == str(PROJECT / "orchestrator")
    assert source.digest == source_digest({name: PROJECT / name for name in ("orchestrator", "algorithms")})
    require_same_source(source)


def test_other_place_is_accepted_and_other_source_rejected_on_one_line() -> None:
    require_same_source(PackageSource("/tmp/ray/py_modules/orchestrator", package_source().digest))
    with pytest.raises(ClusterError) as caught:
        require_same_source(PackageSource("/opt/old/orchestrator", "0" * 64))
    assert "/opt/old/orchestrator" in str(caught.value)
    assert package_source().place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_code_in_the_same_place_is_named_as_such() -> None:
    with pytest.raises(ClusterError, match="changed after the start"):
        require_same_source(PackageSource(package_source().place, "0" * 64))


def test_uploaded_packages_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    """As a job finds them: each below its own entry of PYTHONPATH, and a folder `algorithms` in the current folder."""
    entries = []
    for name in ("orchestrator", "algorithms"):
        shutil.copytree(PROJECT / name, tmp_path / name / name, ignore=shutil.ignore_patterns("__pycache__"))
        entries.append(str(tmp_path / name))
    (tmp_path / "home" / "algorithms").mkdir(parents=True)
    code = "from orchestrator.plugins.package_source import *; print(*package_source(), package_folder('algorithms'))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path / "home",
        env={"PYTHONPATH": ":".join(entries)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        str(tmp_path / "orchestrator" / "orchestrator"),
        package_source().digest,
        str(tmp_path / "algorithms" / "algorithms"),
    ]
    assert package_folder("algorithms") == PROJECT / "algorithms"
