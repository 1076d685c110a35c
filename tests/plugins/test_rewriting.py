"""Absolute imports of neighbours become relative, and all other imports stay."""

import ast

import pytest

from orchestrator.plugins.rewriting import parse_with_relative_imports


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import layers", "from . import layers"),
        ("import layers as other", "from . import layers as other"),
        ("import parts.block as block", "from .parts import block as block"),
        ("import parts.block", "from .parts import block as _parts_block\nfrom . import parts"),
        ("from layers import X, Y as Z", "from .layers import X, Y as Z"),
        ("from parts.block import *", "from .parts.block import *"),
        ("import os, layers", "import os\nfrom . import layers"),
        ("def f():\n    import layers", "def f():\n    from . import layers"),
        ("import layered", "import layered"),
        ("from os import path", "from os import path"),
        ("from .layers import X", "from .layers import X"),
    ],
)
def test_import_is_rewritten(before: str, after: str) -> None:
    tree = parse_with_relative_imports(before.encode(), "net.py", {"layers", "parts"}, level=1)
    assert ast.unparse(tree) == after


def test_file_of_a_package_gets_more_dots() -> None:
    tree = parse_with_relative_imports(b"import layers", "parts/block.py", {"layers"}, level=2)
    assert ast.unparse(tree) == "from .. import layers"


def test_line_numbers_stay() -> None:
    tree = parse_with_relative_imports(b"\n\nimport os, parts.block\nx = 1", "net.py", {"parts"}, level=1)
    assert [node.lineno for node in tree.body] == [3, 3, 3, 4]
