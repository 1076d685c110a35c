"""Objects that a user names by file or module."""

import collections
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.plugins.importer import shipped_modules
from orchestrator.plugins.loading import load_function, load_object


@pytest.fixture(autouse=True)
def _only_own_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in shipped_modules():
        monkeypatch.delitem(sys.modules, module.__name__)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def _write(path: Path, source: str) -> Path:
    path.write_text(source)
    return path


def test_object_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "my.method.py", "answer = 42\n")
    assert load_object(f"{path}:answer", "model.name") == 42


def test_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "method.py", "answer = 42\n")
    monkeypatch.chdir(tmp_path)
    assert load_object("method.py:answer", "model.name") == 42
    assert load_object("./method.py:answer", "model.name") == 42
    assert len(shipped_modules()) == 1


def test_file_is_imported_only_once(tmp_path: Path) -> None:
    path = _write(tmp_path / "method.py", "class Method: pass\n")
    assert load_object(f"{path}:Method", "x") is load_object(f"{path}:Method", "x")


def test_second_thread_waits_until_the_file_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_end = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "import_gate", (began, may_end), raising=False)
    gate = "import sys\nbegan, may_end = sys.import_gate\nbegan.set()\nmay_end.wait()\n"
    path = _write(tmp_path / "method.py", gate + "answer = 42\n")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_object, f"{path}:answer", "x")
        began.wait()
        second = threads.submit(load_object, f"{path}:answer", "x")
        wait([second], timeout=0.1)
        may_end.set()
    assert (first.result(), second.result()) == (42, 42)


def test_files_with_the_same_name_are_different_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder / "method.py", f"answer = {folder!r}\n")
    assert [load_object(f"{tmp_path}/{folder}/method.py:answer", "x") for folder in ("a", "b")] == ["a", "b"]


def test_file_may_look_up_its_own_module(tmp_path: Path) -> None:
    imports = "from __future__ import annotations\nimport dataclasses\n"
    path = _write(
        tmp_path / "method.py", f"{imports}@dataclasses.dataclass\nclass Options:\n    a: int = 1\n"
    )
    options = load_object(f"{path}:Options", "x")
    assert isinstance(options, type)
    assert sys.modules[options.__module__] in shipped_modules()


def test_shipped_modules_are_those_loaded_from_files(tmp_path: Path) -> None:
    assert shipped_modules() == ()
    load_object("collections:OrderedDict", "x")
    assert shipped_modules() == ()
    load_object(f"{_write(tmp_path / 'method.py', 'answer = 42')}:answer", "x")
    (module,) = shipped_modules()
    assert module.__name__.startswith("sparsefleet_plugin_")
    assert module.__name__.endswith(".method")
    assert sys.modules[module.__name__] is module


def test_object_is_loaded_from_an_importable_module() -> None:
    assert load_object("collections:OrderedDict", "x") is collections.OrderedDict


@pytest.mark.parametrize("spec", ["method.py", "collections", ":name", "collections:", ""])
def test_spec_without_module_and_name_is_rejected(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_object(spec, "algorithm.name")
    assert (caught.value.field, caught.value.value) == ("algorithm.name", spec)
    assert "path/to/file.py:name" in caught.value.remedy


def test_missing_file_is_rejected_with_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_object("absent.py:build", "x")
    assert (caught.value.field, caught.value.value) == ("x", "absent.py:build")
    assert f"{tmp_path}/absent.py" in caught.value.problem


@pytest.mark.parametrize(("name", "remedy"), [("biuld", "'build'?"), ("qqq", "define qqq")])
def test_missing_name_is_rejected_with_a_suggestion(tmp_path: Path, name: str, remedy: str) -> None:
    path = _write(tmp_path / "method.py", "def build(): pass\n")
    with pytest.raises(ConfigError) as caught:
        load_object(f"{path}:{name}", "x")
    assert (caught.value.field, caught.value.value) == ("x", f"{path}:{name}")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("missing", ["absent_package", "absent_package.module", "collections.absent"])
def test_missing_module_is_rejected(missing: str) -> None:
    with pytest.raises(ConfigError, match=r"no module .*absent") as caught:
        load_object(f"{missing}:name", "x")
    assert (caught.value.field, caught.value.value) == ("x", f"{missing}:name")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('bad')", "ValueError: bad"),
        ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
    ],
)
def test_file_whose_import_fails_is_rejected_and_can_be_corrected(
    tmp_path: Path, source: str, problem: str
) -> None:
    path = _write(tmp_path / "method.py", source)
    with pytest.raises(ConfigError) as caught:
        load_object(f"{path}:answer", "x")
    assert (caught.value.field, caught.value.value) == ("x", f"{path}:answer")
    assert problem in caught.value.problem
    assert str(path) in caught.value.problem
    assert shipped_modules() == ()
    _write(path, "answer = 'a longer file than before, so that no stale bytecode is read'\n")
    assert load_object(f"{path}:answer", "x")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('bad')", "ValueError: bad"),
        ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
    ],
)
def test_module_whose_import_fails_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    _write(tmp_path / "broken.py", source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_object("broken:answer", "x")
    assert (caught.value.field, caught.value.value) == ("x", "broken:answer")
    assert problem in caught.value.problem


def test_object_that_cannot_be_called_is_no_function() -> None:
    assert load_function("math:sqrt", "model.name", "x")(4.0) == 2.0
    with pytest.raises(ConfigError, match="it is a float, not a function") as caught:
        load_function("math:pi", "model.name", "x")
    assert (caught.value.field, caught.value.remedy) == ("model.name", "name a function (x)")
