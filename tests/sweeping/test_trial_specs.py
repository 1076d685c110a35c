"""Trials: their values and order, their names, their configs, and their lines on disk."""

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from orchestrator.errors import ConfigError, RequestError
from orchestrator.federation.seeds import stream
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.trial_specs import TrialSpec, check_configs, generate_values, with_seeds
from tests.support.sweeps import request, trial

GRID = {
    "training.lr": tune.grid_search([0.1, 0.2, 0.3]),
    "algorithm.name": tune.grid_search(["fedavg", "feddst"]),
}
DOMAINS = {"training.lr": tune.uniform(0.01, 0.1), "algorithm.alpha": tune.loguniform(0.1, 1.0)}


def _generate(dimensions: Mapping[str, Any], seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    return list(generate_values(dimensions, request(**options), stream(seed, "sweep")))


class TestGrid:
    """Search `grid`."""

    def test_grid_has_every_combination_once_in_order(self) -> None:
        expected = [
            {"training.lr": lr, "algorithm.name": name}
            for lr, name in product([0.1, 0.2, 0.3], ["fedavg", "feddst"])
        ]
        assert _generate(GRID) == expected

    def test_grid_does_not_depend_on_the_seed(self) -> None:
        assert _generate(GRID, seed=1) == _generate(GRID, seed=2)

    def test_repeated_values_give_one_trial(self) -> None:
        assert _generate({"seed": tune.grid_search([1, 2, 1])}) == [{"seed": 1}, {"seed": 2}]

    def test_mappings_become_nested_keys(self) -> None:
        kinds = tune.grid_search([{"kind": "constant"}, {"kind": "step", "final_level": 0.9}])
        assert _generate({"sparsity.schedule": kinds, "seed": 3}) == [
            {"sparsity.schedule.kind": "constant", "seed": 3},
            {"sparsity.schedule.kind": "step", "sparsity.schedule.final_level": 0.9, "seed": 3},
        ]

    def test_constants_alone_give_one_trial(self) -> None:
        assert _generate({"seed": 3, "data.tuple": (1, 2)}) == [{"seed": 3, "data.tuple": [1, 2]}]

    def test_domains_are_sampled_for_each_grid_point(self) -> None:
        found = _generate({**GRID, **DOMAINS}, num_samples=2)
        assert len(found) == 2 * len(_generate({**GRID, "training.lr": 0.1}))
        assert all(0.01 <= values["training.lr"] <= 0.1 for values in found)
        assert [values["algorithm.name"] for values in found].count("feddst") == 2


class TestSampling:
    """Values sampled from domains and, with search `random`, from lists."""

    def test_default_is_ten_samples(self) -> None:
        assert len(_generate(DOMAINS)) == 10
        assert len(_generate(DOMAINS, num_samples=3)) == 3

    def test_samples_are_plain_and_in_their_domains(self) -> None:
        domains = {
            **DOMAINS,
            "training.rounds": tune.randint(2, 5),
            "data.augment": tune.choice([True, False]),
        }
        for values in _generate(domains, num_samples=30):
            assert [type(value) for value in values.values()] == [float, float, int, bool]
            assert 0.01 <= values["training.lr"] <= 0.1
            assert 0.1 <= values["algorithm.alpha"] <= 1.0
            assert 2 <= values["training.rounds"] < 5
            assert json.loads(json.dumps(values)) == values

    def test_samples_depend_on_the_seed(self) -> None:
        assert _generate(DOMAINS, seed=1) == _generate(DOMAINS, seed=1)
        first, second = ({values["training.lr"] for values in _generate(DOMAINS, seed=s)} for s in (1, 2))
        assert not first & second

    def test_more_samples_start_with_the_same_samples(self) -> None:
        assert _generate(DOMAINS, num_samples=5)[:3] == _generate(DOMAINS, num_samples=3)

    def test_random_search_samples_from_lists(self) -> None:
        found = _generate(GRID, search="random", num_samples=4)
        grid = _generate(GRID)
        assert 1 < len(found) <= 4
        assert all(values in grid for values in found)

    def test_no_configuration_is_sampled_twice(self) -> None:
        found = _generate({"seed": tune.grid_search([1, 2])}, search="random", num_samples=50)
        assert sorted(values["seed"] for values in found) == [1, 2]
        assert len(_generate({"seed": tune.choice([1, 2, 3])}, num_samples=50)) == 3

    def test_computed_values_use_the_sampled_values(self) -> None:
        dimensions = {
            "training.batch_size": tune.choice([10, 20, 30]),
            "training.local_epochs": tune.sample_from(lambda config: config["training.batch_size"] // 10),
            "training.rounds": tune.sample_from(lambda config: config["training.local_epochs"] + 1),
        }
        found = _generate(dimensions, num_samples=40)
        assert len(found) == 3
        for values in found:
            assert values["training.local_epochs"] == values["training.batch_size"] // 10
            assert values["training.rounds"] == values["training.local_epochs"] + 1

    @pytest.mark.parametrize("source", [tune.grid_search([2, 3]), tune.choice([2, 3])])
    def test_computed_value_may_come_before_its_source(self, source: Any) -> None:
        dimensions = {
            "training.rounds": tune.sample_from(lambda config: 10 * config["training.local_epochs"]),
            "training.local_epochs": source,
        }
        found = _generate(dimensions, num_samples=20)
        assert sorted(values["training.rounds"] for values in found) == [20, 30]

    def test_sampled_mappings_become_nested_keys(self) -> None:
        found = _generate({"a": tune.choice([{"kind": "x"}, {"kind": "y", "z": (1,)}])}, num_samples=20)
        assert sorted(found, key=str) == [{"a.kind": "x"}, {"a.kind": "y", "a.z": [1]}]


class TestSeeds:
    """`with_seeds`."""

    def test_every_configuration_gets_the_same_seeds(self) -> None:
        assert list(with_seeds({"a": 1}, 5, 3)) == [
            {"a": 1, "seed": 5},
            {"a": 1, "seed": 6},
            {"a": 1, "seed": 7},
        ]
        assert [v["seed"] for v in with_seeds({"a": 2}, 5, 3)] == [5, 6, 7]

    def test_one_seed_is_the_seed_of_the_config(self) -> None:
        assert list(with_seeds({"a": 1}, 5, 1)) == [{"a": 1}]

    def test_seeds_replace_a_fixed_seed(self) -> None:
        assert list(with_seeds({"seed": 9}, 1, 2)) == [{"seed": 1}, {"seed": 2}]


class TestNames:
    """`TrialSpec.name` and `TrialSpec.configuration`."""

    @pytest.mark.parametrize(
        ("values", "configuration", "name"),
        [
            ({"algorithm.name": "feddst"}, "feddst", "feddst"),
            (
                {"algorithm.name": "feddst", "sparsity.level": 0.8, "seed": 1},
                "feddst level=0.8",
                "feddst level=0.8 seed=1",
            ),
            ({"seed": 2}, "defaults", "defaults seed=2"),
            ({"training.lr": 0.123456789}, "lr=0.1235", "lr=0.1235"),
            ({"training.lr": 1e-7, "data.augment": True}, "lr=1e-07 augment=True", "lr=1e-07 augment=True"),
            ({"algorithm.name": "my/file.py:Method"}, "Method", "Method"),
            ({}, "defaults", "defaults"),
        ],
    )
    def test_name_contains_the_values(self, values: dict[str, Any], configuration: str, name: str) -> None:
        spec = TrialSpec(number=3, values=values)
        assert (spec.configuration, spec.name) == (configuration, name)

    def test_different_configurations_have_different_names(self) -> None:
        left = trial(0, algorithm__name="feddst", sparsity__level=0.5, sparsity__schedule__final_level=0.9)
        right = trial(1, algorithm__name="feddst", sparsity__level=0.9, sparsity__schedule__final_level=0.5)
        assert left.configuration != right.configuration


def test_values_override_the_base_config() -> None:
    base = {"training": {"lr": 0.1, "rounds": 7}, "seed": 1}
    config = trial(0, training__lr=0.3, algorithm__name="fedprox", algorithm__mu=2.0, seed=4).config(base)
    assert (config.training.lr, config.training.rounds, config.seed) == (0.3, 7, 4)
    assert config.algorithm.model_dump() == {"name": "fedprox", "mu": 2.0}
    assert base == {"training": {"lr": 0.1, "rounds": 7}, "seed": 1}


def test_error_names_the_trial_and_keeps_its_type() -> None:
    good, bad = trial(0, training__lr=0.1), trial(1, training__lr=-1.0, seed=2)
    with pytest.raises(ConfigError) as caught:
        check_configs([good, bad], {}, Objective.parse("accuracy"))
    assert (caught.value.field, float(str(caught.value.value))) == ("training.lr", -1.0)
    assert "(trial 1, lr=-1 seed=2)" in caught.value.problem
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RequestError)


def test_valid_trials_pass_the_check() -> None:
    specs = [trial(n, training__rounds=n + 1) for n in range(3)]
    check_configs(specs, {}, Objective.parse("accuracy"))
    assert [spec.config({}).training.rounds for spec in specs] == [1, 2, 3]


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.integers(0, 10**6), st.dictionaries(st.text(), _LEAVES | st.lists(_LEAVES)))
def test_line_round_trips(number: int, values: dict[str, Any]) -> None:
    spec = TrialSpec(number=number, values=values)
    line = spec.to_line()
    assert "\n" not in line
    assert TrialSpec.from_line(line.encode()) == spec


def test_line_has_number_and_values() -> None:
    assert trial(3, seed=1).to_line() == '{"number":3,"values":{"seed":1}}'


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'{"number":1}', b'{"number":1,"values":{},"x":1}'])
def test_invalid_line_is_rejected(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrialSpec.from_line(line)


def test_infinite_value_is_rejected() -> None:
    with pytest.raises(ValueError, match="JSON"):
        trial(0, training__lr=float("inf")).to_line()
    line = trial(0, training__lr=float(np.float64(0.5))).to_line()
    assert json.loads(line) == {"number": 0, "values": {"training.lr": 0.5}}
