"""Every registered method passes every check. The tests of each check have a method that breaks its rule."""

import pytest

from orchestrator.contract import CHECKS, contract_experiment
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from tests.support.method_variants import NAMES, VARIANTS


def _experiment(variant: str) -> Experiment:
    name, options = VARIANTS[variant]
    return contract_experiment(name, [f"{key}={value}" for key, value in options.items()])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(
            variant,
            marks=[] if variant in NAMES else [pytest.mark.thorough],
        )
        for variant in VARIANTS
    ],
)
def test_registered_method_passes(variant: str, check: str) -> None:
    CHECKS[check](_experiment(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_resolved_config_gives_the_same_experiment(variant: str) -> None:
    """A run stores its config with all defaults, and a resumed run uses the stored config."""
    experiment = _experiment(variant)
    again = ExperimentConfig.parse(experiment.config.to_dict())
    assert again == experiment.config
    samples = experiment.dataset, experiment.partition
    assert prepare(again, samples).fingerprint() == experiment.fingerprint()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["Masked", "Personal"])
def test_correct_user_method_passes(name: str, check: str) -> None:
    CHECKS[check](contract_experiment(f"tests.support.broken_methods:{name}"))
