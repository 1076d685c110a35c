"""Methods are short and import no other method, the core names no method, and packages stay small."""

import ast
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

from algorithms import ALGORITHMS

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PACKAGES = ("orchestrator", "algorithms", "search_spaces")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
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


@pytest.mark.parametrize("package", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_package_has_at_most_15_modules(package: Path) -> None:
    """Each method is one file of `algorithms`, so that methods do not count."""
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    methods = {path.name for path in METHODS if path.parent == package}
    assert len(modules - methods) <= 15


def test_class_names_are_unique() -> None:
    where = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(str(path.relative_to(ROOT)))
    assert len(where) > 100
    assert not {name: paths for name, paths in where.items() if len(paths) > 1}


def test_files_are_short() -> None:
    lengths = [len(path.read_text().splitlines()) for path in MODULES if path.name != "__init__.py"]
    assert median(lengths) <= 130


def test_helpers_of_tests_are_in_the_support_folder() -> None:
    """Commands of their own (fuzzers, soak tests, benchmarks) are no helpers."""
    elsewhere = {TESTS / name for name in ("support", "fuzz", "soak", "benchmarks")}
    files = [path for path in TESTS.rglob("*.py") if not elsewhere & set(path.parents)]
    assert len(files) > 100
    names = ("test_", "conftest.py", "__init__.py")
    assert not [str(path.relative_to(TESTS)) for path in files if not path.name.startswith(names)]
