"""Imports point one way, and what must not be used is not used: read off every file's syntax tree."""

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
    "orchestrator.atomic_write",
    "orchestrator.config",
)
FEDERATION = (
    *CORE,
    "orchestrator.models",
    "orchestrator.sparsity",
    "orchestrator.fleet",
    "orchestrator.federation",
)
#: what a run is made of, from the bottom up: each package may import those before it
LADDER = (
    "orchestrator.data",
    "algorithms",
    "orchestrator.experiment",
    "orchestrator.tracking",
    "orchestrator.storage",
    "orchestrator.execution",
    "orchestrator.aggregation",
    "orchestrator.rounds",
    "orchestrator.runtime",
)
#: package -> what of ours it may import, at any level
MAY_IMPORT = {
    "orchestrator.errors": (),
    "orchestrator.commands": (),
    "orchestrator.suggest": (),
    "orchestrator.formatting": (),
    "orchestrator.config": CORE,
    "orchestrator.models": (*CORE, "orchestrator.models"),
    "orchestrator.sparsity": (*CORE, "orchestrator.models", "orchestrator.sparsity"),
    "orchestrator.fleet": (*CORE, "orchestrator.models", "orchestrator.fleet"),
    "orchestrator.data": (*CORE, "orchestrator.models", "orchestrator.data"),
    "orchestrator.federation": FEDERATION,
    "algorithms": ("orchestrator.method", "algorithms"),
    "orchestrator.method": FEDERATION,
    "orchestrator.tracking": (*CORE, "orchestrator.models", "orchestrator.tracking"),
    **{
        package: (*FEDERATION, *LADDER[: place + 1])
        for place, package in enumerate(LADDER)
        if place >= LADDER.index("orchestrator.experiment") and package != "orchestrator.tracking"
    },
    "orchestrator.contract": (*FEDERATION, *LADDER, "orchestrator.contract"),
    "orchestrator.retiming": (*FEDERATION, *LADDER, "orchestrator.retiming"),
    "orchestrator.analysis": (
        *CORE,
        "orchestrator.experiment",
        "orchestrator.tracking",
        "orchestrator.storage",
        "orchestrator.analysis",
    ),
    "search_spaces": ("search_spaces",),
}
#: the command line and what hangs on it, which nothing below may know
SHELLS = (
    "orchestrator.cli",
    "orchestrator.cluster",
    "orchestrator.display",
    "orchestrator.sweeping",
    "orchestrator.api",
    "orchestrator.contract",
    "orchestrator.retiming",
)
#: of these packages only files named so import ray
RAY_FILES = (
    "orchestrator.runtime.ray_",
    "orchestrator.execution.ray_",
    "orchestrator.sweeping.tune.",
    "orchestrator.cluster.ray_",
)
#: these may import ray inside a function, so that looking at `--help` does not
LAZY_RAY = ("orchestrator.sweeping.space", "orchestrator.sweeping.trials")
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
#: pickles a method and reads back what it has just written, to see that Ray can ship it
PICKLING = "orchestrator.contract.repeatable"
#: what one client of thousands must not carry
HEAVY = (
    "torchvision",
    "sklearn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "mlflow",
    "torch._dynamo",
)


@dataclass(frozen=True)
class Import:
    """One imported name; `lazy` inside a function, `typing` under TYPE_CHECKING."""

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
    """(module, line, dotted text) of every attribute that is read, such as `torch.manual_seed`."""
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                yield module, node.lineno, ast.unparse(node)


def test_the_walk_sees_the_whole_project() -> None:
    assert {"orchestrator", "orchestrator.execution.ray_executor", "algorithms.feddst"} <= sources().keys()
    assert any(i.name == "ray" for i in imports())
    assert any(i.lazy and i.within("orchestrator.runtime.ray_backend") for i in imports())
    assert any(i.typing and i.within("mlflow") for i in imports())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    inside = [i for i in imports() if i.module == package or i.module.startswith(f"{package}.")]
    assert not [
        f"{i.module}:{i.line} imports {i.name}"
        for i in inside
        if i.within(*PACKAGES) and not i.within(*MAY_IMPORT[package])
    ]


def test_the_sections_of_a_config_know_no_method() -> None:
    """`orchestrator.experiment` alone looks a method's options up, so that methods may import the sections."""
    assert not [i for i in imports() if i.module.startswith("orchestrator.config") and i.within("algorithms")]
    assert [i for i in imports() if i.module == "orchestrator.experiment.methods" and i.within("algorithms")]


def test_no_files_import_each_other_in_a_circle() -> None:
    """At any level, inside functions too; imports for type checking alone do not count."""
    modules = sources().keys()
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for i in imports():
        if not i.typing:
            target = i.name if i.name in modules else i.name.rpartition(".")[0]
            edges[i.module] |= {target} & modules - {i.module}
    while leaves := {module for module, targets in edges.items() if not targets & edges.keys()}:
        edges = {module: targets for module, targets in edges.items() if module not in leaves}
    assert not edges


def test_the_algorithms_know_nothing_of_how_they_are_run() -> None:
    above = ("orchestrator.runtime", "orchestrator.tracking", "orchestrator.data", "ray", "mlflow", *SHELLS)
    assert not [i for i in imports() if i.module.startswith("algorithms") and i.within(*above)]


def test_nothing_imports_the_command_line_but_itself() -> None:
    wrong = [
        i
        for i in imports()
        if i.within(*SHELLS)
        and ".".join(i.module.split(".")[:2]) not in SHELLS
        and i.module != "orchestrator"
    ]
    assert not wrong


def test_only_the_shells_import_ray() -> None:
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


def test_what_imports_ray_is_itself_imported_late() -> None:
    """`session` and the command line reach the Ray modules only from inside functions."""
    shells = {i.module for i in imports() if i.within("ray") and not (i.lazy or i.typing)}
    shells |= {module for module in sources() if module.startswith(RAY_FILES)}
    assert {"orchestrator.runtime.ray_backend", "orchestrator.cluster.ray_jobs"} <= shells
    assert not [
        f"{i.module}:{i.line} imports {i.name}"
        for i in imports()
        if i.within(*shells) and i.module not in shells and not (i.lazy or i.typing)
    ]


def test_there_is_no_global_random_number_generator() -> None:
    """But for the one file that seeds those of user code, and restores them."""
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
    assert {i.module for i in imports() if i.name.split(".")[0] in PICKLES} == {PICKLING}
    assert not [found for found in _attributes() if found[2] in ("torch.load", "torch.save")]
    for module, tree in sources().items():
        for keyword in (node for node in ast.walk(tree) if isinstance(node, ast.keyword)):
            if keyword.arg == "allow_pickle":
                assert ast.unparse(keyword.value) == "False", f"{module}:{keyword.lineno} reads pickles"


def test_every_method_is_registered_under_its_files_name() -> None:
    files = {path.stem for path in (ROOT / "algorithms").glob("[!_]*.py")}
    assert set(ALGORITHMS) == files
    for name, spec in ALGORITHMS.items():
        assert spec.startswith(f"algorithms.{name}:")
        assert load_algorithm(name).__name__ == spec.rpartition(":")[2]


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What a fresh interpreter has in memory after each of these imports, one after another."""
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


def test_asking_for_help_does_not_even_load_torch(loaded: dict[str, set[str]]) -> None:
    assert "typer" in loaded["orchestrator.cli.main"]
    assert not loaded["orchestrator.cli.main"] & {"torch", "ray", "numpy", *HEAVY}


def test_a_client_actor_carries_no_heavy_library(loaded: dict[str, set[str]]) -> None:
    assert "torch" in loaded["orchestrator.execution.client_actor"]
    assert not loaded["orchestrator.execution.client_actor"] & {"ray", *HEAVY}


def test_a_run_is_prepared_without_ray_and_mlflow(loaded: dict[str, set[str]]) -> None:
    assert not loaded["orchestrator.runtime.session"] & {"ray", *HEAVY}
    assert not loaded["orchestrator.api"] & {"ray", *HEAVY}
