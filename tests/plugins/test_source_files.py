"""Which files of its folder a user's file needs."""

import hashlib
from pathlib import Path

import pytest

from orchestrator.plugins.source_files import read_sources


def _write(folder: Path, **files: str) -> None:
    """Write Python files; `a__b` is the file b.py in the folder a."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _names(folder: Path, file: str = "net.py") -> set[str]:
    return set(read_sources(file, folder / file).files)


@pytest.mark.parametrize(
    "text",
    [
        "import layers",
        "import layers as other",
        "from layers import Block",
        "from .layers import Block",
        "from . import layers",
        "def build():\n    import layers",
        "try:\n    from layers import Block\nexcept ImportError:\n    pass",
        "import os, layers.deeper",
    ],
)
def test_every_form_of_import_finds_the_neighbour(tmp_path: Path, text: str) -> None:
    _write(tmp_path, net=text, layers="", unused="")
    assert _names(tmp_path) == {"net.py", "layers.py"}


def test_neighbours_of_neighbours_are_included(tmp_path: Path) -> None:
    _write(tmp_path, net="import a", a="import b", b="import a")
    assert _names(tmp_path) == {"net.py", "a.py", "b.py"}


def test_package_is_included_as_a_whole_with_the_neighbours_that_it_imports(tmp_path: Path) -> None:
    _write(tmp_path, net="import parts", parts__block="from ..shared import X", shared="")
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "notes.txt").write_text("")
    assert _names(tmp_path) == {"net.py", "parts/__init__.py", "parts/block.py", "shared.py"}


@pytest.mark.parametrize("name", ["random", "orchestrator", "algorithms", "search_spaces", "types"])
def test_standard_library_and_own_packages_have_no_neighbours(tmp_path: Path, name: str) -> None:
    _write(tmp_path, net=f"import {name}", **{name: ""})
    assert _names(tmp_path) == {"net.py"}


def test_installed_package_takes_precedence_over_a_folder_without_init(tmp_path: Path) -> None:
    _write(tmp_path, net="import numpy, plain", numpy__notes="", plain__block="")
    assert _names(tmp_path) == {"net.py", "plain/block.py"}


@pytest.mark.parametrize("text", ["def (", "from ...... import layers", "\0"])
def test_file_that_cannot_be_imported_is_read_alone(tmp_path: Path, text: str) -> None:
    _write(tmp_path, net=text, layers="")
    assert _names(tmp_path) == {"net.py"}


def test_digests_are_of_the_bytes(tmp_path: Path) -> None:
    _write(tmp_path, net="import layers", layers="X = 1\n")
    digests = read_sources("net.py", tmp_path / "net.py").digests
    assert digests == {
        "layers.py": hashlib.sha256(b"X = 1\n").hexdigest(),
        "net.py": hashlib.sha256(b"import layers").hexdigest(),
    }
