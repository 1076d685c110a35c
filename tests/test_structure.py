"""Methods are short and independent, packages stay small, and every module has a test file."""

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
#: packages that run every method
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

#: modules without a test file of their name, and the reason
WITHOUT_TEST_FILE = {
    "orchestrator/cli/__main__.py": "starts the command line",
    "orchestrator/config/rounds.py": "declares keys, which tests/experiment/test_config.py checks",
    "orchestrator/config/runtime.py": "declares keys, which tests/experiment/test_config.py checks",
    "orchestrator/federation/capabilities.py": "a record without functions",
    "orchestrator/federation/local/environment.py": "protocols without code",
    "orchestrator/rounds/protocol.py": "a record and a protocol without code",
    "orchestrator/storage/checkpoints/checkpoint.py": "records without functions",
    "orchestrator/studies/board/__main__.py": "starts the command that tests/studies/board/test_write.py tests",
    "orchestrator/studies/rules.py": "records without functions",
    "orchestrator/sweeping/display.py": "a protocol without code",
}


def _length(path: Path) -> int:
    """Lines of a method's file without its imports. The formatter writes one line for each imported name."""
    text = path.read_text()
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return len(text.splitlines()) - sum((node.end_lineno or 0) - node.lineno + 1 for node in imports)


def test_methods_are_short() -> None:
    lengths = sorted(_length(path) for path in METHODS)
    assert len(lengths) == len(ALGORITHMS)
    assert median(lengths) <= 100, lengths


def test_no_method_imports_another() -> None:
    for path in METHODS:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules += [f"{node.module}.{alias.name}" for alias in node.names]
            own = f"algorithms._{path.stem}_"
            others = [m for m in modules if m.startswith("algorithms") and not m.startswith(own)]
            others = [m for m in others if m != "algorithms.references"]
            assert not others, path.name


def test_no_core_file_names_a_method() -> None:
    """Names and strings count. Docstrings and descriptions may mention methods as examples."""
    for path in (p for package in CORE for p in (ROOT / "orchestrator" / package).rglob("*.py")):
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
    """Methods do not count: each method is one file of `algorithms`."""
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


def test_functions_fit_a_screen() -> None:
    """A docstring counts."""
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 1000
    assert not {name: length for name, length in lengths.items() if length > 60}


def test_helpers_of_tests_are_in_the_support_folder() -> None:
    """Separate commands (fuzzers, soak tests, benchmarks) are no helpers."""
    elsewhere = {TESTS / name for name in ("support", "fuzz", "soak", "benchmarks")}
    files = [path for path in TESTS.rglob("*.py") if not elsewhere & set(path.parents)]
    assert len(files) > 100
    names = ("test_", "conftest.py", "__init__.py")
    assert not [str(path.relative_to(TESTS)) for path in files if not path.name.startswith(names)]


def _expected_test_file(module: Path) -> Path:
    """`orchestrator/a/b.py` -> `a/test_b.py`, `algorithms/_x.py` -> `algorithms/test_x.py`."""
    relative = module.relative_to(
        ROOT / "orchestrator" if (ROOT / "orchestrator") in module.parents else ROOT
    )
    return relative.parent / f"test_{relative.stem.lstrip('_')}.py"


def _tested_modules() -> set[Path]:
    """Modules with a test file `test_<module>.py` or `test_<module>_<part>.py`.

    A test file belongs to the module with the longest matching name: `test_fedavg_ft.py` does not test `fedavg`.
    """
    expected = {_expected_test_file(module): module for module in MODULES if module.name != "__init__.py"}
    tested = set()
    for file in TESTS.rglob("test_*.py"):
        words = file.stem.split("_")
        names = ["_".join(words[:count]) for count in range(len(words), 1, -1)]
        folder = file.parent.relative_to(TESTS)
        tested.add(next((expected[f] for n in names if (f := folder / f"{n}.py") in expected), None))
    return {module for module in tested if module is not None}


def test_every_module_has_a_test_file_of_its_name() -> None:
    """One test file samples all search spaces: tests/search_spaces/test_spaces.py."""
    tested = {str(module.relative_to(ROOT)) for module in _tested_modules()}
    modules = {str(m.relative_to(ROOT)) for m in MODULES if m.name != "__init__.py"}
    modules -= {m for m in modules if m.startswith("search_spaces/")}
    assert modules - tested == WITHOUT_TEST_FILE.keys()
