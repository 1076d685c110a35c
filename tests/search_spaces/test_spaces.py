"""Every point of every grid is a config that can be run."""

import ast
import importlib
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import search_spaces
from algorithms import ALGORITHMS
from orchestrator.config import ExperimentConfig
from orchestrator.config_loading import apply_overrides

FOLDER = Path(search_spaces.__file__).parent


def points(space: dict[str, Any]) -> list[list[str]]:
    """Overrides for each combination of a space made of grids."""
    grids = [[f"{key}={value}" for value in domain["grid_search"]] for key, domain in space.items()]
    return [list(point) for point in product(*grids)]


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_every_point_is_a_config(name: str) -> None:
    space = importlib.import_module(search_spaces.SPACES[name]).SPACE
    configs = [ExperimentConfig.parse(apply_overrides({}, point)) for point in points(space)]
    assert len({config.model_dump_json() for config in configs}) == len(configs) > 1


def test_the_algorithms_space_has_every_method() -> None:
    space = importlib.import_module(search_spaces.SPACES["algorithms"]).SPACE
    assert set(space["algorithm.name"]["grid_search"]) == set(ALGORITHMS)


def test_every_file_is_named_and_imports_nothing_of_ours() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert set(search_spaces.SPACES) == set(files)
    for path in files.values():
        imported = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        assert {node.module for node in imported} == {"ray"}
