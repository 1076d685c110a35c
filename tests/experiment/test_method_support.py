"""Methods that rules, attacks or noise cannot reach are rejected with the reason."""

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


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        ("dispfl", "average the models of their neighbours"),
        ("local", "send no update"),
        ("topk", "send update and no model"),
        ("compsparse", "send complement and no model"),
    ],
)
def test_clip_of_a_method_without_models_is_rejected(method: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        fresh(f"algorithm.name={method}", "privacy.clip_norm=1")
    assert caught.value.field == "privacy.clip_norm"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("algorithm.name=ssfl",), "to its probes would have no noise"),
        (("algorithm.name=scaffold",), "also send control"),
        (("model.name=tests.support.fakes:normalised_net",), "running statistics"),
        (("fleet.name=phones-and-edge",), "come and go"),
    ],
)
def test_noise_that_would_not_protect_clients_is_rejected(overrides: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        fresh(*overrides, "privacy.clip_norm=1", "privacy.noise_multiplier=1")
    assert caught.value.field == "privacy.noise_multiplier"


def test_masks_that_clients_choose_are_named_as_unprotected() -> None:
    private = ("privacy.clip_norm=1", "privacy.noise_multiplier=1")
    for method in ("feddst", "fedspa"):
        (warning,) = (
            w for w in fresh(f"algorithm.name={method}", *private).warnings if "privacy/epsilon" in w
        )
        assert "masks of their own" in warning
        assert not any("privacy" in w for w in fresh(f"algorithm.name={method}").warnings)
    assert not any("privacy" in w for w in fresh("algorithm.name=randommask", *private).warnings)
