"""Methods that rules, attacks or noise cannot reach are rejected with the reason."""

from pathlib import Path

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


@pytest.mark.parametrize("method", ["fedmask", "fedpm", "compsparse", "topk", "stc"])
def test_attack_that_would_alter_running_statistics_is_rejected(method: str) -> None:
    """A negative variance is no model. Updates with the model as an item keep their statistics honest."""
    batch_norm = "model.name=tests.support.fakes:normalised_net"
    with pytest.raises(ConfigError, match="running statistics") as caught:
        fresh(f"algorithm.name={method}", batch_norm, "attack.kind=sign_flip")
    assert caught.value.field == "attack.kind"
    for accepted in (
        (f"algorithm.name={method}", "attack.kind=sign_flip"),
        (f"algorithm.name={method}", batch_norm, "attack.kind=label_flip"),
        ("algorithm.name=fedavg", batch_norm, "attack.kind=sign_flip"),
    ):
        assert fresh(*accepted).attackers


@pytest.mark.parametrize("method", ["heterofl", "fedrolex", "fedrep", "fedper", "fedmask"])
def test_model_with_several_outputs_is_rejected_where_the_last_layer_counts(method: str) -> None:
    several = ("model.name=tests.support.nets:two_outputs", "model.output=logits")
    with pytest.raises(ConfigError, match="last weight layer") as caught:
        fresh(f"algorithm.name={method}", *several)
    assert caught.value.field == "model.output"
    assert fresh("algorithm.name=feddst", *several).config.model.output == "logits"
    neutral = ("algorithm.masked_loss=false", "algorithm.masked_scores=false")
    assert fresh("algorithm.name=heterofl", *neutral, *several)


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


def test_noise_for_a_fleet_whose_devices_drop_out_is_rejected(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    speeds = "flops_per_s: 1e9, uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6"
    fleet.write_text(f"summary: phones\nprofiles:\n  - {{name: phone, {speeds}, dropout: 0.1}}\n")
    overrides = (f"fleet.name={fleet}", "privacy.clip_norm=1", "privacy.noise_multiplier=1")
    with pytest.raises(ConfigError, match="drop out") as caught:
        fresh(*overrides)
    assert caught.value.field == "privacy.noise_multiplier"
