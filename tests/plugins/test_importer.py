"""Imports of users' files together with their neighbours."""

import linecache
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

from orchestrator.errors import ConfigError
from orchestrator.plugins.importer import shipped_modules
from orchestrator.plugins.loading import load_object, sources_of


def _value(folder: Path, text: str, **neighbours: str) -> object:
    """Write a file with `text` and its neighbours, and return the object `value` of the file."""
    folder.mkdir(exist_ok=True)
    for name, content in {"named": text, **neighbours}.items():
        path = folder / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return load_object(f"{folder / 'named.py'}:value", "model.name")


@pytest.mark.parametrize(
    "text",
    [
        "import layers\nvalue = layers.X",
        "import layers as other\nvalue = other.X",
        "from layers import X as value",
        "from layers import *\nvalue = X",
        "from .layers import X as value",
        "from . import layers\nvalue = layers.X",
        "from __future__ import annotations\nimport os, layers\nvalue = layers.X",
    ],
)
def test_file_may_import_a_neighbour_in_every_form(tmp_path: Path, text: str) -> None:
    assert _value(tmp_path, text, layers="X = 7") == 7
    assert "layers" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        "import parts.block\nvalue = parts.block.X",
        "import parts.block as block\nvalue = block.X",
        "from parts import block\nvalue = block.X",
        "from parts.block import X as value",
    ],
)
def test_file_may_import_a_module_of_a_neighbour_package(tmp_path: Path, text: str) -> None:
    neighbours = {
        "parts__block": "from shared import X\nfrom ..shared import X as Y\nassert X == Y",
        "shared": "X = 7",
    }
    assert _value(tmp_path, text, **neighbours) == 7
    (tmp_path / "parts" / "__init__.py").write_text("")


def test_two_folders_may_have_neighbours_of_one_name(tmp_path: Path) -> None:
    values = [
        _value(tmp_path / name, "from layers import X as value", layers=f"X = {name!r}") for name in "ab"
    ]
    assert values == ["a", "b"]


def test_two_files_of_a_folder_share_their_neighbour(tmp_path: Path) -> None:
    first = _value(tmp_path, "from layers import X as value", layers="class X: pass")
    (tmp_path / "other.py").write_text("from layers import X as value")
    assert load_object(f"{tmp_path / 'other.py'}:value", "x") is first


def test_neighbour_does_not_replace_the_package_or_the_standard_library(tmp_path: Path) -> None:
    text = "import random\nfrom algorithms import ALGORITHMS\nvalue = random.random, ALGORITHMS['fedavg']"
    broken = "raise AssertionError"
    value = _value(tmp_path, text, random=broken, algorithms=broken, orchestrator=broken)
    assert isinstance(value, tuple)
    assert value[1] == "algorithms.fedavg:FedAvg"


def test_function_may_import_a_neighbour_when_it_runs(tmp_path: Path) -> None:
    value = _value(tmp_path, "def value():\n    from layers import X\n    return X", layers="X = 7")
    assert callable(value)
    assert value() == 7


def test_error_in_a_neighbour_is_reported_and_can_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _value(tmp_path, "from layers import X as value", layers="raise ValueError('bad')")
    assert "ValueError: bad" in caught.value.problem
    assert not [module for module in shipped_modules() if str(tmp_path) in str(module.__file__)]
    assert _value(tmp_path, "from layers import X as value", layers="X = 7") == 7


def test_traceback_shows_the_lines_of_the_file(tmp_path: Path) -> None:
    value = _value(tmp_path, "import layers\n\ndef value():\n    raise ZeroDivisionError\n", layers="")
    assert callable(value)
    with pytest.raises(ZeroDivisionError) as caught:
        value()
    entry = caught.traceback[-1]
    assert (entry.path, entry.lineno + 1) == (tmp_path / "named.py", 4)
    (tmp_path / "named.py").unlink()
    linecache.clearcache()
    assert (
        linecache.getline(str(tmp_path / "named.py"), 4, value.__globals__).strip()
        == "raise ZeroDivisionError"
    )


def test_process_without_the_files_can_import_neighbours_from_the_sources(tmp_path: Path) -> None:
    """A worker on another node gets the sources, and a function that imports a neighbour when it runs."""
    text = "import layers\n\ndef value():\n    from late import Y\n    return layers.X + Y"
    value = _value(tmp_path, text, layers="X = 7", late="Y = 1")
    for module in shipped_modules():
        cloudpickle.register_pickle_by_value(module)
    sent = tmp_path / "sent.pickle"
    sent.write_bytes(cloudpickle.dumps(value))
    sources = tmp_path / "sources.pickle"
    sources.write_bytes(cloudpickle.dumps(sources_of(f"{tmp_path / 'named.py'}:value")))
    for file in tmp_path.glob("*.py"):
        file.unlink()
    script = (
        "import pathlib, pickle\n"
        "from orchestrator.plugins.importer import add_sources\n"
        f"add_sources(pickle.loads(pathlib.Path({str(sources)!r}).read_bytes()))\n"
        f"print(pickle.loads(pathlib.Path({str(sent)!r}).read_bytes())())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "8\n", done.stderr
