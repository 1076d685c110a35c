"""Search spaces given as mappings and as arguments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.search.sample import Categorical, Domain

from orchestrator.errors import ConfigError, RequestError
from orchestrator.sweeping.inline import FUNCTIONS, domain_text, inline_overrides, parse_domain
from orchestrator.sweeping.plan import plan_resumed_sweep, plan_sweep
from orchestrator.sweeping.request import SweepRequest
from tests.support.sweeps import BASE, new_store

DOMAINS: dict[str, Any] = {
    "uniform(0.1, 0.5)": tune.uniform(0.1, 0.5),
    "loguniform(1e-05, 0.1)": tune.loguniform(1e-5, 0.1),
    "quniform(0, 1, 0.25)": tune.quniform(0, 1, 0.25),
    "qloguniform(0.01, 1, 0.01)": tune.qloguniform(0.01, 1, 0.01),
    "randint(1, 9)": tune.randint(1, 9),
    "lograndint(1, 90)": tune.lograndint(1, 90),
    "qrandint(2, 20, 2)": tune.qrandint(2, 20, 2),
    "qlograndint(10, 100, 10)": tune.qlograndint(10, 100, 10),
    "randn(0, 2)": tune.randn(0, 2),
    "qrandn(0, 1, 0.5)": tune.qrandn(0, 1, 0.5),
    'choice("a", 1, {"name": "x", "y": [1]}, null, true)': tune.choice(
        ["a", 1, {"name": "x", "y": [1]}, None, True]
    ),
}


@pytest.mark.parametrize(("text", "domain"), DOMAINS.items(), ids=list(DOMAINS))
def test_domain_becomes_text_and_the_same_domain_again(text: str, domain: Domain) -> None:
    assert domain_text(domain) == text
    read = parse_domain(text)
    assert type(read) is type(domain)
    for seed in range(5):
        expected = domain.sample(random_state=np.random.default_rng(seed))
        assert read.sample(random_state=np.random.default_rng(seed)) == expected


def test_every_function_has_a_domain_above() -> None:
    assert {text.partition("(")[0] for text in DOMAINS} == set(FUNCTIONS)


def test_numbers_and_words_as_a_user_writes_them() -> None:
    domain = parse_domain(" loguniform(1e-3, .1) ")
    assert (domain.lower, domain.upper) == (0.001, 0.1)
    words = parse_domain("choice(fedavg, feddst)")
    assert isinstance(words, Categorical)
    assert words.categories == ["fedavg", "feddst"]


@pytest.mark.parametrize("value", ["fedavg", "uniform", "my_uniform(1, 2)", 0.5, None, ["uniform(0, 1)"]])
def test_other_values_stay(value: object) -> None:
    assert parse_domain(value) is value


@pytest.mark.parametrize("text", ["uniform(a, b)", "uniform()", "uniform(1)", "loguniform(0, 1)", "choice()"])
def test_wrong_arguments_are_rejected(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_domain(text)
    assert caught.value.value == text


def test_mapping_has_dotted_keys_or_sections() -> None:
    space = {
        "training": {"lr": [0.1, 0.2], "rounds": 3},
        "data": {"partition": {"alpha": tune.uniform(0, 1)}},
        "algorithm": {"name": tune.grid_search(["fedavg", "feddst"])},
        "sparsity.layer_density": {"a.b": 0.1},
        "seed": np.int64(4),
    }
    assert inline_overrides(space) == {
        "training.lr": [0.1, 0.2],
        "training.rounds": 3,
        "data.partition.alpha": "uniform(0, 1)",
        "algorithm.name": ["fedavg", "feddst"],
        "sparsity.layer_density": {"a.b": 0.1},
        "seed": 4,
    }


def test_function_cannot_be_stored() -> None:
    with pytest.raises(ConfigError) as caught:
        inline_overrides({"training.lr": tune.sample_from(lambda config: 0.1)})
    assert caught.value.field == "training.lr"
    assert ".py" in caught.value.remedy


def _request(**options: Any) -> SweepRequest:
    return SweepRequest.model_validate({"config": BASE, **options})


def test_sweep_without_a_space_trains_the_product_of_its_keys() -> None:
    overrides = {"training.lr": [0.01, 0.1], "algorithm.name": ["fedavg", "feddst"]}
    plan = plan_sweep(_request(overrides=overrides))
    values = [(trial.values["algorithm.name"], trial.values["training.lr"]) for trial in plan.trials()]
    assert sorted(values) == [("fedavg", 0.01), ("fedavg", 0.1), ("feddst", 0.01), ("feddst", 0.1)]
    assert plan.space.name == "sweep"


def test_seeds_alone_are_a_sweep() -> None:
    plan = plan_sweep(_request(seeds=3))
    assert [trial.values for trial in plan.trials()] == [
        {"algorithm.name": "fedavg", "seed": seed} for seed in range(3)
    ]


def test_sweep_that_varies_nothing_is_rejected() -> None:
    for overrides in ({}, {"training.lr": 0.1}):
        with pytest.raises(RequestError) as caught:
            plan_sweep(_request(overrides=overrides))
        assert caught.value.field == "SPACE"


def test_range_is_sampled_and_resumed_with_the_same_values(tmp_path: Path) -> None:
    request = _request(overrides={"training.lr": "loguniform(0.01, 0.1)"}, num_samples=3)
    plan, store = plan_sweep(request), new_store(tmp_path)
    rates = [trial.values["training.lr"] for trial in plan.trials()]
    assert len(set(rates)) == 3
    assert all(0.01 <= rate <= 0.1 for rate in rates)
    store.describe({"request": request.model_dump(mode="json"), "base": dict(plan.base)})
    assert [trial.values for trial in plan_resumed_sweep(store).trials()] == [t.values for t in plan.trials()]
