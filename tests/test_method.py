"""The public surface for authors of methods, and for their tests."""

import ast
from pathlib import Path

import pytest

import orchestrator.contract as test_surface
import orchestrator.method as surface

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "algorithms").glob("*.py"))
NAMES = [
    "AGGREGATORS",
    "Adam",
    "AdaptiveServerAlgorithm",
    "AdaptiveServerConfig",
    "AdaptiveServerState",
    "Aggregate",
    "Aggregator",
    "Algorithm",
    "AlgorithmConfig",
    "AllocationKind",
    "Batch",
    "Bits",
    "Bool",
    "Capabilities",
    "ChosenUnitsAlgorithm",
    "Citation",
    "ClientMask",
    "ClientMaskAlgorithm",
    "ClientRatio",
    "ClientTask",
    "CompensatedAlgorithm",
    "CompensatedConfig",
    "ConfigError",
    "Contribution",
    "Dense",
    "ItemForm",
    "KeptUnits",
    "LocalRun",
    "MODEL_FORM",
    "MODEL_ITEM",
    "MaskAtStartAlgorithm",
    "MaskAtStartConfig",
    "Masked",
    "ModelValues",
    "ParameterLayout",
    "Payload",
    "PersonalHeadAlgorithm",
    "PersonalHeadConfig",
    "PersonalPart",
    "PersonalPartAlgorithm",
    "ROUNDING",
    "UNIT_BITS",
    "RatioPolicy",
    "RoundPlan",
    "Scalar",
    "Segment",
    "ServerState",
    "SparsityConfig",
    "StructuredAlgorithm",
    "StructuredConfig",
    "Traits",
    "UnitGroup",
    "WireError",
    "accuracy",
    "add_sparse_backward",
    "allocate",
    "as_sent",
    "batch_sizes",
    "bits_to_units",
    "check_size",
    "cosine_anneal",
    "exact_share",
    "find_bits",
    "find_model",
    "find_values",
    "fine_tune",
    "first_units",
    "grow_top",
    "initial_mask",
    "keep_top",
    "keep_top_overall",
    "largest_entries",
    "magnitude_mask",
    "mask_distance",
    "pack_model",
    "prune_share",
    "random_mask",
    "reject_empty_layers",
    "select_top",
    "share_out",
    "smallest_density",
    "stream",
    "ucbv_index",
    "unit_sums",
    "units_to_bits",
    "unpack_model",
]


def test_surface_has_exactly_these_names() -> None:
    """This list changes only when a name is added to or removed from the public surface on purpose."""
    assert sorted(surface.__all__) == sorted(NAMES)
    assert all(hasattr(surface, name) for name in NAMES)


def test_surface_for_tests_has_exactly_these_names() -> None:
    assert sorted(test_surface.__all__) == ["CHECKS", "Check", "contract_experiment"]
    assert all(hasattr(test_surface, name) for name in test_surface.__all__)


def test_module_docstring_lists_every_name() -> None:
    assert surface.__doc__ is not None
    words = surface.__doc__.replace(",", " ").replace("|", " ").split()
    assert [name for name in NAMES if name not in words] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_methods_import_only_from_the_surface(path: Path) -> None:
    """The list of publications, and a method's own helpers, are the only other imports of the project."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    modules = {node.module or "" for node in nodes}
    modules = {module for module in modules if module.startswith(("orchestrator", "algorithms"))}
    own = (module for module in modules if f"._{path.stem}_" in module)
    assert modules <= {"orchestrator.method", "algorithms", *own}
    shared = {alias.name for node in nodes if node.module == "algorithms" for alias in node.names}
    assert shared <= {"references"}
