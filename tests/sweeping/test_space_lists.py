"""A search space that lists its configurations: `SPACE = [{...}, {...}]`."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, RequestError
from orchestrator.sweeping.plan import SweepPlan, plan_sweep
from orchestrator.sweeping.sources import sweep_sources
from orchestrator.sweeping.space import CONFIGURATIONS, load_space, varying_keys
from tests.support.sweeps import BASE, request, space_file

LISTED = """SPACE = [
    {"algorithm.name": "fedprox", "algorithm.mu": 1e-2, "training.lr": 0.1},
    {"algorithm": {"name": "feddst"}, "training.lr": 0.2},
]"""


def _plan(folder: Path, text: str = LISTED, **options: object) -> SweepPlan:
    options = {"space": space_file(folder, text), "config": dict(BASE), **options}
    return plan_sweep(request(**options))


def test_every_listed_configuration_runs_with_every_seed(tmp_path: Path) -> None:
    values = [trial.values for trial in _plan(tmp_path, seeds=2, overrides={"seed": 100}).trials()]
    first = {"algorithm.name": "fedprox", "algorithm.mu": 0.01, "training.lr": 0.1}
    second = {"algorithm.name": "feddst", "training.lr": 0.2}
    assert values == [{**each, "seed": seed} for each in (first, second) for seed in (100, 101)]


def test_override_replaces_the_key_in_every_listed_configuration(tmp_path: Path) -> None:
    trials = _plan(tmp_path, overrides={"training.lr": [0.3, 0.4]}).trials()
    methods_and_rates = [(each.values["algorithm.name"], each.values["training.lr"]) for each in trials]
    assert sorted(methods_and_rates) == [("feddst", 0.3), ("feddst", 0.4), ("fedprox", 0.3), ("fedprox", 0.4)]


def test_equal_values_in_other_spellings_give_one_trial(tmp_path: Path) -> None:
    trials = _plan(tmp_path, 'SPACE = [{"training.lr": "1e-2"}, {"training.lr": 0.01}]').trials()
    assert [each.values for each in trials] == [{"algorithm.name": "fedavg", "training.lr": 0.01}]


def test_random_search_samples_listed_configurations(tmp_path: Path) -> None:
    trials = _plan(tmp_path, search="random", num_samples=40).trials()
    assert sorted(each.values["algorithm.name"] for each in trials) == ["feddst", "fedprox"]


def test_keys_of_listed_configurations_vary(tmp_path: Path) -> None:
    plan = _plan(tmp_path, config={**BASE, "seed": 7})
    assert set(varying_keys(plan.dimensions)) == {"algorithm.name", "algorithm.mu", "training.lr"}
    assert set(plan.dimensions) == {CONFIGURATIONS}
    assert plan.seed == 7


def test_listed_configurations_cannot_vary_the_runtime(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        _plan(tmp_path, 'SPACE = [{"runtime.executor": "ray"}, {"training.lr": 0.2}]')
    assert error.value.field == "runtime.executor"


def test_invalid_listed_configuration_is_rejected_before_the_sweep_starts(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        _plan(tmp_path, 'SPACE = [{"training.lr": 0.1}, {"training.lr": 0.1, "algorithm.mu": 0.2}]').trials()
    assert error.value.field == "algorithm.mu"


@pytest.mark.parametrize("search", ["tpe", "nsga2"])
def test_adaptive_search_cannot_learn_from_a_list(tmp_path: Path, search: str) -> None:
    with pytest.raises(RequestError) as error:
        _plan(tmp_path, search=search, objective="pareto" if search == "nsga2" else "accuracy")
    assert error.value.field == "--search"


@pytest.mark.parametrize(
    "text", ["SPACE = []", "SPACE = [1]", "SPACE = [{1: 2}]", 'SPACE = [{"seed": tune.grid_search([1])}]']
)
def test_list_of_anything_else_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_space(space_file(tmp_path, text))
    assert error.value.field == "SPACE"


def test_files_of_listed_methods_belong_to_the_sweep(tmp_path: Path) -> None:
    method = tmp_path / "method.py"
    method.write_text("from algorithms.fedavg import FedAvg\n\n\nclass Own(FedAvg):\n    pass\n")
    text = f'SPACE = [{{"algorithm.name": "{method}:Own"}}, {{"algorithm.name": "fedavg"}}]'
    assert set(sweep_sources(_plan(tmp_path, text))) == {"space", "algorithm"}


def test_keys_of_the_config_file_that_the_list_overrides_are_named(tmp_path: Path) -> None:
    plan = _plan(tmp_path, config={**BASE, "training": {**BASE["training"], "lr": 0.5}})
    assert plan.overridden == ("training.lr",)
