"""Imports go down the ladder of packages, and banned calls do not occur.

The tests read the syntax trees of all files.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from algorithms import ALGORITHMS
from orchestrator.experiment.methods import load_algorithm

ROOT = Path(__file__).parent.parent
PACKAGES = ("orchestrator", "algorithms", "search_spaces")

CORE = (
    "orchestrator.errors",
    "orchestrator.commands",
    "orchestrator.suggest",
    "orchestrator.formatting",
    "orchestrator.version",
    "orchestrator.atomic_write",
    "orchestrator.private_files",
    "orchestrator.config",
    "orchestrator.plugins",
)
FEDERATION = (
    *CORE,
    "orchestrator.citations",
    "orchestrator.models",
    "orchestrator.sparsity",
    "orchestrator.fleet",
    "orchestrator.federation",
)
#: the packages of a run, from the bottom up: each package may import the packages before it
LADDER = (
    "orchestrator.data",
    "algorithms",
    "orchestrator.experiment",
    "orchestrator.tracking",
    "orchestrator.storage",
    "orchestrator.execution",
    "orchestrator.aggregation",
    "orchestrator.rounds",
    "orchestrator.processes",
    "orchestrator.runtime",
)
#: everything that executes a run
RUN = (*FEDERATION, *LADDER)
#: package -> packages of the project that it may import, also inside functions
MAY_IMPORT = {
    "orchestrator.errors": (),
    "orchestrator.commands": (),
    "orchestrator.suggest": (),
    "orchestrator.formatting": (),
    "orchestrator.version": (),
    "orchestrator.atomic_write": CORE,
    "orchestrator.private_files": CORE,
    "orchestrator.config": CORE,
    "orchestrator.plugins": CORE,
    "orchestrator.citations": (*CORE, "orchestrator.citations"),
    "orchestrator.models": (*CORE, "orchestrator.models"),
    "orchestrator.sparsity": (*CORE, "orchestrator.models", "orchestrator.sparsity"),
    "orchestrator.fleet": (*CORE, "orchestrator.models", "orchestrator.fleet"),
    "orchestrator.data": (*CORE, "orchestrator.models", "orchestrator.data"),
    "orchestrator.federation": FEDERATION,
    "algorithms": ("orchestrator.method", "algorithms"),
    "orchestrator.method": FEDERATION,
    "orchestrator.tracking": (*CORE, "orchestrator.models", "orchestrator.tracking"),
    "orchestrator.processes": ("orchestrator.processes",),
    **{
        package: (*FEDERATION, *LADDER[: place + 1])
        for place, package in enumerate(LADDER)
        if place >= LADDER.index("orchestrator.experiment")
        and package not in ("orchestrator.tracking", "orchestrator.processes")
    },
    "orchestrator.contract": (*FEDERATION, *LADDER, "orchestrator.contract"),
    "orchestrator.retiming": (*FEDERATION, *LADDER, "orchestrator.retiming"),
    "orchestrator.forecast": (*FEDERATION, *LADDER, "orchestrator.retiming", "orchestrator.forecast"),
    "orchestrator.analysis": (
        *CORE,
        "orchestrator.experiment",
        "orchestrator.tracking",
        "orchestrator.storage",
        "orchestrator.analysis",
    ),
    "orchestrator.results": (
        *CORE,
        "orchestrator.experiment",
        "orchestrator.tracking",
        "orchestrator.storage",
        "orchestrator.analysis",
        "orchestrator.results",
    ),
    "search_spaces": ("search_spaces",),
    "orchestrator.sweeping": (
        *RUN,
        "orchestrator.analysis",
        "orchestrator.results",
        "search_spaces",
        "orchestrator.sweeping",
    ),
    "orchestrator.studies": (
        *RUN,
        "orchestrator.analysis",
        "orchestrator.results",
        "orchestrator.sweeping",
        "orchestrator.studies",
    ),
    "orchestrator.display": (
        *RUN,
        "orchestrator.results",
        "orchestrator.sweeping",
        "orchestrator.display",
    ),
    "orchestrator.cluster": (*RUN, "orchestrator.sweeping", "orchestrator.cluster"),
}
#: the command line and the packages that only it imports
SHELLS = (
    "orchestrator.cli",
    "orchestrator.cluster",
    "orchestrator.display",
    "orchestrator.sweeping",
    "orchestrator.api",
    "orchestrator.contract",
    "orchestrator.retiming",
    "orchestrator.studies",
    "orchestrator.forecast",
)
#: only modules with these prefixes import ray
RAY_FILES = (
    "orchestrator.runtime.ray_",
    "orchestrator.execution.ray_",
    "orchestrator.aggregation.ray_",
    "orchestrator.sweeping.tune.",
    "orchestrator.cluster.ray_",
    "orchestrator.plugins.ray_",
)
#: these modules import ray inside functions or for types, so that `--help` does not import ray
LAZY_RAY = (
    "orchestrator.api",
    "orchestrator.sweeping.inline",
    "orchestrator.sweeping.space",
    "orchestrator.sweeping.trial_specs",
)
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
#: pickles a method and unpickles it at once, to check that Ray can send it
PICKLING = {"orchestrator.contract.repeatable", "orchestrator.tracking.mlflow.torch_file"}
#: libraries that a client actor must not import
HEAVY = (
    "torchvision",
    "sklearn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "mlflow",
    "torch._dynamo",
    "triton",
)


@dataclass(frozen=True)
class Import:
    """One imported name: `lazy` means inside a function, `typing` means under TYPE_CHECKING."""

    module: str
    line: int
    name: str
    lazy: bool
    typing: bool

    def within(self, *packages: str) -> bool:
        return any(self.name == package or self.name.startswith(f"{package}.") for package in packages)


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the project by its dotted name."""
    trees = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            trees[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text(), str(path))
    return trees


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module, tree in sources().items() for found in _imports(module, tree))


def _imports(module: str, node: ast.AST, lazy: bool = False, typing: bool = False) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(module, node.lineno, alias.name, lazy, typing)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}:{node.lineno} has a relative import, which this test cannot follow"
        for alias in node.names:
            yield Import(module, node.lineno, f"{node.module}.{alias.name}", lazy, typing)
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    for child in ast.iter_child_nodes(node):
        inside = guard and isinstance(node, ast.If) and child in node.body
        yield from _imports(module, child, lazy, typing or inside)


def _attributes() -> Iterator[tuple[str, int, str]]:
    """(module, line, dotted text) of every attribute access, such as `torch.manual_seed`."""
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                yield module, node.lineno, ast.unparse(node)


def test_all_modules_of_the_project_are_read() -> None:
    assert {"orchestrator", "orchestrator.execution.ray_executor", "algorithms.feddst"} <= sources().keys()
    assert any(i.name == "ray" for i in imports())
    assert any(i.lazy and i.within("orchestrator.runtime.ray_backend") for i in imports())
    assert any(i.typing and i.within("mlflow") for i in imports())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_packages_below_it(package: str) -> None:
    inside = [i for i in imports() if i.module == package or i.module.startswith(f"{package}.")]
    assert not [
        f"{i.module}:{i.line} imports {i.name}"
        for i in inside
        if i.within(*PACKAGES) and not i.within(*MAY_IMPORT[package])
    ]


def test_sections_of_the_config_import_no_method() -> None:
    """Methods may import the sections: only `orchestrator.experiment` looks up a method's options."""
    assert not [i for i in imports() if i.module.startswith("orchestrator.config") and i.within("algorithms")]
    assert [i for i in imports() if i.module == "orchestrator.experiment.methods" and i.within("algorithms")]


def test_imports_have_no_circles() -> None:
    """Imports inside functions count, imports for type checking do not."""
    modules = sources().keys()
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for i in imports():
        if not i.typing:
            target = i.name if i.name in modules else i.name.rpartition(".")[0]
            edges[i.module] |= {target} & modules - {i.module}
    while leaves := {module for module, targets in edges.items() if not targets & edges.keys()}:
        edges = {module: targets for module, targets in edges.items() if module not in leaves}
    assert not edges


def test_methods_import_nothing_that_runs_them() -> None:
    above = ("orchestrator.runtime", "orchestrator.tracking", "orchestrator.data", "ray", "mlflow", *SHELLS)
    assert not [i for i in imports() if i.module.startswith("algorithms") and i.within(*above)]


def test_only_the_command_line_imports_the_command_line() -> None:
    wrong = [
        i
        for i in imports()
        if i.within(*SHELLS)
        and ".".join(i.module.split(".")[:2]) not in SHELLS
        and i.module != "orchestrator"
    ]
    assert not wrong


def test_only_listed_modules_import_ray() -> None:
    for found in (i for i in imports() if i.within("ray")):
        module = found.module
        thin = module.startswith(RAY_FILES)
        thin = thin or module == "orchestrator.runtime.driver_actor"
        lazily = module in LAZY_RAY and (found.lazy or found.typing)
        assert thin or lazily or module.startswith("search_spaces"), f"{module}:{found.line} imports ray"


def test_only_mlflow_files_of_tracking_import_mlflow() -> None:
    for found in (i for i in imports() if i.within("mlflow")):
        allowed = found.module.startswith("orchestrator.tracking.mlflow")
        assert allowed or found.typing, f"{found.module}:{found.line} imports mlflow"


def test_modules_that_import_ray_are_imported_inside_functions() -> None:
    """`session` and the command line reach the Ray modules only from inside functions."""
    shells = {i.module for i in imports() if i.within("ray") and not (i.lazy or i.typing)}
    shells |= {module for module in sources() if module.startswith(RAY_FILES)}
    assert {"orchestrator.runtime.ray_backend", "orchestrator.cluster.ray_jobs"} <= shells
    assert not [
        f"{i.module}:{i.line} imports {i.name}"
        for i in imports()
        if i.within(*shells) and i.module not in shells and not (i.lazy or i.typing)
    ]


def test_global_random_generators_are_not_used() -> None:
    """The exception is the module that seeds and restores them for user code."""
    seeding = "orchestrator.models.seeding"
    assert {i.module for i in imports() if i.name == "random" or i.name.startswith("random.")} == {seeding}
    allowed = {"Generator", "PCG64", "default_rng", "SeedSequence"}
    for module, line, text in _attributes():
        seeds = module == seeding
        last = text.rpartition(".")[2]
        assert last != "manual_seed" or seeds, f"{module}:{line} seeds torch"
        assert last not in {"set_rng_state", "manual_seed_all"} or seeds, f"{module}:{line} seeds torch"
        if text.startswith("np.random.") and text.count(".") == 2 and not seeds:
            assert last in allowed, f"{module}:{line} uses numpy's global generator: {text}"


def test_every_generator_is_seeded() -> None:
    for module, tree in sources().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func).endswith("default_rng"):
                assert call.args, f"{module}:{call.lineno} draws a seed from the system"


def test_nothing_is_pickled() -> None:
    assert {i.module for i in imports() if i.name.split(".")[0] in PICKLES} == PICKLING
    assert not [found for found in _attributes() if found[2] in ("torch.load", "torch.save")]
    for module, tree in sources().items():
        for keyword in (node for node in ast.walk(tree) if isinstance(node, ast.keyword)):
            if keyword.arg == "allow_pickle":
                assert ast.unparse(keyword.value) == "False", f"{module}:{keyword.lineno} reads pickles"


def test_every_method_is_registered_under_its_files_name() -> None:
    files = {path.stem for path in (ROOT / "algorithms").glob("[!_]*.py")}
    assert set(ALGORITHMS) == files - {"references"}
    for name, spec in ALGORITHMS.items():
        assert spec.startswith(f"algorithms.{name}:")
        assert load_algorithm(name).__name__ == spec.rpartition(":")[2]


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The modules in memory of a new interpreter after each of these imports, one after another."""
    stages = (
        "orchestrator.cli.main",
        "orchestrator.execution.client_actor",
        "orchestrator.runtime.session",
        "orchestrator.api",
    )
    code = "import sys, json\nfor m in sys.argv[1:]: __import__(m); print(json.dumps([m, *sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *stages],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {stage: set(modules) for stage, *modules in lines}


def test_help_does_not_import_torch(loaded: dict[str, set[str]]) -> None:
    assert "typer" in loaded["orchestrator.cli.main"]
    assert not loaded["orchestrator.cli.main"] & {"torch", "ray", "numpy", *HEAVY}


def test_client_actor_imports_no_heavy_library(loaded: dict[str, set[str]]) -> None:
    assert "torch" in loaded["orchestrator.execution.client_actor"]
    assert not loaded["orchestrator.execution.client_actor"] & {"ray", *HEAVY}


def test_preparation_of_a_run_imports_neither_ray_nor_mlflow(loaded: dict[str, set[str]]) -> None:
    assert not loaded["orchestrator.runtime.session"] & {"ray", *HEAVY}
    assert not loaded["orchestrator.api"] & {"ray", *HEAVY}
