"""Every grid point and every sample of the built-in search spaces is a valid experiment."""

import ast
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search.sample import Categorical, Domain, Float, Integer

import search_spaces
from algorithms import ALGORITHMS
from orchestrator.config.overrides import flatten
from orchestrator.experiment.prepare import prepare
from orchestrator.sweeping.plan import SweepPlan, plan_sweep
from orchestrator.sweeping.space import is_grid, load_space
from orchestrator.sweeping.trial_specs import TrialSpec
from tests.support.sweeps import request

FOLDER = Path(search_spaces.__file__).parent
WITH_MUTATIONS = [name for name in search_spaces.SPACES if load_space(name).mutations]
#: expected number of trials of each space that has only lists
GRIDS = {
    "algorithms": len(ALGORITHMS),
    "sparsity": 3 * 4 * 3,
    "schedules": 3 * 2 * 4,
    "heterogeneity": 4 * 2 * 3,
    "smoke": 2,
}


def _plan(name: str, **options: Any) -> SweepPlan:
    return plan_sweep(request(space=name, **options))


def _extremes(domain: object) -> list[Any]:
    """Return the bounds of a domain, or all values of a list."""
    if isinstance(domain, Float):
        return [domain.lower, domain.upper]
    if isinstance(domain, Integer):
        return [domain.lower, domain.upper - 1]
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, Mapping) and is_grid(domain):
        return list(domain["grid_search"])
    assert isinstance(domain, list | tuple)
    return list(domain)


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_trials_are_distinct_experiments(name: str) -> None:
    plan = _plan(name)
    trials = plan.trials()
    assert len(trials) == GRIDS.get(name, 10)
    experiments = [prepare(trial.config(plan.base)) for trial in trials]
    assert len({experiment.config.model_dump_json() for experiment in experiments}) == len(trials)
    assert len({trial.name for trial in trials}) == len(trials)


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_bounds_of_every_domain_are_valid_values(name: str) -> None:
    plan = _plan(name)
    first = plan.trials()[0]
    open_keys = {key: value for key, value in plan.dimensions.items() if isinstance(value, Domain | Mapping)}
    found = [
        TrialSpec(number=0, values={**first.values, key: value}).config(plan.base)
        for key, domain in open_keys.items()
        for value in _extremes(domain)
    ]
    assert len(found) >= 2 * len(open_keys) > 0


@pytest.mark.parametrize("name", WITH_MUTATIONS)
def test_trials_of_a_population_have_all_mutable_keys(name: str) -> None:
    plan = _plan(name, scheduler="pbt")
    assert set(plan.mutable) == set(load_space(name).mutations)
    for trial in plan.trials():
        assert set(plan.mutable) <= set(trial.values)


@pytest.mark.parametrize("name", WITH_MUTATIONS)
def test_bounds_of_every_mutation_are_valid_values(name: str) -> None:
    plan = _plan(name)
    first = plan.trials()[0]
    for key, domain in load_space(name).mutations.items():
        for value in _extremes(domain):
            config = TrialSpec(number=0, values={**first.values, key: value}).config(plan.base)
            assert flatten(config.to_dict())[key] == value


def test_spaces_of_the_four_main_methods_have_mutations() -> None:
    assert {"feddst", "fedspa", "ssfl", "fedlps"} <= set(WITH_MUTATIONS)


@pytest.mark.parametrize("name", ["feddst", "fedspa", "ssfl", "fedlps"])
def test_tpe_accepts_the_space_of_a_method(name: str) -> None:
    plan = _plan(name, search="tpe", num_samples=3)
    assert plan.is_adaptive
    assert plan.config.algorithm.name == name


def test_algorithms_space_has_every_method() -> None:
    space = importlib.import_module(search_spaces.SPACES["algorithms"]).SPACE
    assert set(space["algorithm.name"]["grid_search"]) == set(ALGORITHMS)


def test_every_file_is_registered_and_imports_only_ray() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert {stem: f"search_spaces.{stem}" for stem in files} == search_spaces.SPACES
    for path in files.values():
        imported = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        assert {node.module for node in imported} == {"ray"}


def test_registry_is_read_only() -> None:
    with pytest.raises(TypeError):
        search_spaces.SPACES["more"] = "module"  # type: ignore[index]
