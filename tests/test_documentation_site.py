"""The documentation site shows docstrings as they are written: only backquotes are markup."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

EXTENSION = Path(__file__).parent.parent / "docs" / "_ext" / "docstrings.py"


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    """The extension's module, without Sphinx running."""
    spec = spec_from_file_location("docstrings_of_the_site", EXTENSION)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("|gradient x weight|", r"\|gradient x weight\|"),
        ("name_ and *args", r"name\_ and \*args"),
        ("snake_case stays", "snake_case stays"),
        ("`name_ |x| *args` stay", "`name_ |x| *args` stay"),
        ("a `b_` c_ `d_`", r"a `b_` c\_ `d_`"),
        (r"C:\temp", r"C:\\temp"),
    ],
)
def test_only_text_outside_backquotes_is_escaped(docstrings: ModuleType, written: str, shown: str) -> None:
    assert docstrings.escaped(written) == shown


def test_examples_and_trees_in_docstrings_are_literal(docstrings: ModuleType) -> None:
    written = "Take a*b.\n\n>>> a*b\n6\n\n    code |x|\n\nBase\n├── Child_\n\nThen a*b."
    assert docstrings.shown(written).split("\n") == [
        r"Take a\*b.",
        "",
        ">>> a*b",
        "6",
        "",
        "::",
        "",
        "    code |x|",
        "",
        "::",
        "",
        "    Base",
        "    ├── Child_",
        "",
        r"Then a\*b.",
    ]
