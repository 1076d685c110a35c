"""What the folders promise: methods are short and know nothing of one another, the core knows none of them."""

import ast
from pathlib import Path
from statistics import median

from algorithms import ALGORITHMS

ROOT = Path(__file__).parents[1]
METHODS = sorted(path for path in (ROOT / "algorithms").glob("*.py") if path.stem in ALGORITHMS)
#: packages that any method goes through
CORE = (
    "aggregation",
    "contract",
    "data",
    "execution",
    "federation",
    "fleet",
    "models",
    "rounds",
    "runtime",
    "sparsity",
    "storage",
    "tracking",
)


def _length(path: Path) -> int:
    """Lines of a method without its imports, of which the formatter makes one line a name."""
    text = path.read_text()
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return len(text.splitlines()) - sum((node.end_lineno or 0) - node.lineno + 1 for node in imports)


def test_a_method_is_short() -> None:
    lengths = sorted(_length(path) for path in METHODS)
    assert len(lengths) == len(ALGORITHMS)
    assert median(lengths) <= 100, lengths


def test_no_method_imports_another() -> None:
    for path in METHODS:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
            others = [m for m in modules if m.startswith("algorithms") and f"._{path.stem}_" not in m]
            assert not others, path.name


def test_no_core_file_names_a_method() -> None:
    """Neither as a name nor as a string; what is told in docstrings and descriptions is for readers."""
    for path in (p for room in CORE for p in (ROOT / "orchestrator" / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            named = {
                ast.Constant: lambda n: n.value,
                ast.Name: lambda n: n.id.lower(),
                ast.Attribute: lambda n: n.attr.lower(),
            }.get(type(node), lambda n: None)(node)
            assert not (isinstance(named, str) and named in set(ALGORITHMS) - {"local"}), (
                f"{path.name}:{getattr(node, 'lineno', 0)} names {named}"
            )
