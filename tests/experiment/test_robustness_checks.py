"""Options of robust rules and of attacks that exclude each other; every remedy works."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.robustness_checks import updates_per_round


def _config(**options: Any) -> ExperimentConfig:
    words = [f"{key.replace('__', '.')}={value}" for key, value in options.items()]
    return ExperimentConfig.parse(apply_overrides({}, words))


@pytest.mark.parametrize(
    ("options", "field", "problem"),
    [
        ({"aggregation__num_selected": 3}, "aggregation.num_selected", "aggregation.rule=mean ignores"),
        (
            {"aggregation__rule": "median", "aggregation__attacker_share": 0.1},
            "aggregation.attacker_share",
            "ignores",
        ),
        ({"aggregation__rule": "krum", "aggregation__smoothing": 0.1}, "aggregation.smoothing", "ignores"),
        (
            {"aggregation__rule": "median", "asynchrony__kind": "fedasync"},
            "aggregation.rule",
            "steps after each update",
        ),
        (
            {"aggregation__rule": "krum", "training__clients_per_round": 2},
            "aggregation.rule",
            "compares at least 3",
        ),
        (
            {"aggregation__rule": "multi_krum", "aggregation__num_selected": 6},
            "aggregation.num_selected",
            "a round has 5 updates",
        ),
        ({"attack__scale": 2.0}, "attack.scale", "attack.kind=none ignores"),
        ({"attack__share": 0.3}, "attack.share", "attack.kind=none ignores"),
        (
            {"attack__kind": "label_flip", "attack__scale": 2.0},
            "attack.scale",
            "attack.kind=label_flip ignores",
        ),
        ({"attack__kind": "gaussian", "attack__share": 0.02}, "attack.share", "0 attackers among 20 clients"),
        (
            {"attack__kind": "gaussian", "attack__share": 0.98},
            "attack.share",
            "20 attackers among 20 clients",
        ),
    ],
)
def test_options_that_exclude_each_other_are_rejected(
    options: Mapping[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        _config(**options)
    assert caught.value.field == field


@pytest.mark.parametrize("num_clients", range(3, 20))
def test_share_that_krum_does_not_withstand_is_rejected_with_one_that_it_does(num_clients: int) -> None:
    shared = {"aggregation__rule": "krum", "training__clients_per_round": num_clients}
    with pytest.raises(ConfigError, match="Krum withstands") as caught:
        _config(**shared, aggregation__attacker_share=0.49)
    remedy = re.search(r"use ([\d.]+) or less", caught.value.remedy)
    assert remedy is not None
    assert _config(**shared, aggregation__attacker_share=float(remedy[1])).aggregation.rule == "krum"


@pytest.mark.parametrize("share", [-0.1, 0.5, 1.0])
def test_half_of_the_updates_cannot_be_attackers(share: float) -> None:
    with pytest.raises(ConfigError, match="attacker_share"):
        _config(aggregation__rule="trimmed_mean", aggregation__attacker_share=share)


def test_updates_of_a_round() -> None:
    assert updates_per_round(_config(training__clients_per_round=7)) == 7
    assert updates_per_round(_config(asynchrony__kind="fedbuff", asynchrony__buffer_size=4)) == 4
    assert updates_per_round(_config(asynchrony__kind="fedasync")) == 1


def test_own_rule_has_options_and_a_built_in_rule_has_none() -> None:
    own = {"rule": "tests.support.aggregation_rules:clipped_mean", "options": {"limit": 2.0}}
    assert ExperimentConfig.parse({"aggregation": own}).aggregation.options == {"limit": 2.0}
    with pytest.raises(ConfigError, match="ignores this option"):
        ExperimentConfig.parse({"aggregation": {"rule": "median", "options": {"limit": 2.0}}})
    with pytest.raises(ConfigError, match="ignores this option"):
        ExperimentConfig.parse({"aggregation": {**own, "num_selected": 2}})
