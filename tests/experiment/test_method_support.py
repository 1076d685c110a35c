"""Methods that a robust rule cannot protect, or an attack cannot reach, are rejected with the reason."""

import pytest

from orchestrator.errors import ConfigError
from tests.support.runs import fresh


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        ("dispfl", "the clients of dispfl average the models of their neighbours themselves"),
        ("local", "the clients of local send no update"),
        ("stc", "stc has an aggregator of its own"),
    ],
)
def test_method_without_an_average_of_the_server_is_rejected(method: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        fresh(f"algorithm.name={method}", "aggregation.rule=median")
    assert caught.value.field == "aggregation.rule"


@pytest.mark.parametrize("method", ["fedavg", "feddst", "fedspa", "heterofl", "scaffold", "hermes", "fedpm"])
def test_other_methods_are_accepted(method: str) -> None:
    assert fresh(f"algorithm.name={method}", "aggregation.rule=median").config.aggregation.rule == "median"


@pytest.mark.parametrize("method", ["dispfl", "local", "local_submodel"])
def test_attack_on_updates_that_the_server_never_gets_is_rejected(method: str) -> None:
    with pytest.raises(ConfigError, match=f"the clients of {method}") as caught:
        fresh(f"algorithm.name={method}", "attack.kind=sign_flip")
    assert caught.value.field == "attack.kind"
    assert fresh(f"algorithm.name={method}", "attack.kind=label_flip").attackers
