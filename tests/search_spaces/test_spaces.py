"""Every point of every grid, and every draw, is an experiment that can be run."""

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
from orchestrator.sweeping.trials import TrialSpec
from tests.support.sweeps import request

FOLDER = Path(search_spaces.__file__).parent
WITH_MUTATIONS = [name for name in search_spaces.SPACES if load_space(name).mutations]
#: how many trials each space of grids has, by hand
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
    """The values at the ends of a domain, or all that it lists."""
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
def test_every_trial_is_an_experiment_of_its_own(name: str) -> None:
    plan = _plan(name)
    trials = plan.trials()
    assert len(trials) == GRIDS.get(name, 10)
    experiments = [prepare(trial.config(plan.base)) for trial in trials]
    assert len({experiment.config.model_dump_json() for experiment in experiments}) == len(trials)
    assert len({trial.name for trial in trials}) == len(trials)


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_every_end_of_every_domain_is_a_config(name: str) -> None:
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
def test_a_population_begins_with_what_it_may_change(name: str) -> None:
    plan = _plan(name, scheduler="pbt")
    assert set(plan.mutable) == set(load_space(name).mutations)
    for trial in plan.trials():
        assert set(plan.mutable) <= set(trial.values)


@pytest.mark.parametrize("name", WITH_MUTATIONS)
def test_what_a_population_may_change_to_is_a_config(name: str) -> None:
    plan = _plan(name)
    first = plan.trials()[0]
    for key, domain in load_space(name).mutations.items():
        for value in _extremes(domain):
            config = TrialSpec(number=0, values={**first.values, key: value}).config(plan.base)
            assert flatten(config.to_dict())[key] == value


def test_our_four_methods_have_spaces_that_a_population_may_change() -> None:
    assert {"feddst", "fedspa", "ssfl", "fedlps"} <= set(WITH_MUTATIONS)


@pytest.mark.parametrize("name", ["feddst", "fedspa", "ssfl", "fedlps"])
def test_a_search_may_learn_in_a_method_s_space(name: str) -> None:
    plan = _plan(name, search="tpe", num_samples=3)
    assert plan.is_adaptive
    assert plan.config.algorithm.name == name


def test_the_algorithms_space_has_every_method() -> None:
    space = importlib.import_module(search_spaces.SPACES["algorithms"]).SPACE
    assert set(space["algorithm.name"]["grid_search"]) == set(ALGORITHMS)


def test_every_file_is_named_and_imports_nothing_of_ours() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert {stem: f"search_spaces.{stem}" for stem in files} == search_spaces.SPACES
    for path in files.values():
        imported = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        assert {node.module for node in imported} == {"ray"}


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        search_spaces.SPACES["more"] = "module"  # type: ignore[index]
