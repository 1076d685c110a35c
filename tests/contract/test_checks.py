"""Every registered method passes every check. The tests of each check have a method that breaks its rule."""

from pathlib import Path

import pytest

from orchestrator.contract import CHECKS, contract_experiment
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from tests.support.method_variants import NAMES, VARIANTS
from tests.support.text_files import text_data


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


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides for a small text, with one epoch in each round."""
    folder: Path = tmp_path_factory.mktemp("texts")
    return (*text_data(folder), "training.local_epochs=1", "data.stride=8")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", ["fedavg", "feddst", "heterofl", "fedbn"])
@pytest.mark.parametrize("model", ["normalised", "frozen"])
def test_method_passes_with_batch_norm_and_frozen_parts(model: str, method: str, check: str) -> None:
    overrides = (f"model.name=tests.support.stateful_models:{model}", "fleet.name=five-tier")
    CHECKS[check](contract_experiment(method, overrides))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", ["feddst", "heterofl"])
@pytest.mark.parametrize("model", ["tests.support.stateful_models:tied", "char_transformer"])
def test_method_passes_with_tied_weights_and_attention(
    model: str, method: str, check: str, texts: tuple[str, ...]
) -> None:
    # HeteroFL's masked loss needs a classifier that no other layer shares
    options = ("algorithm.masked_loss=false", "algorithm.masked_scores=false") if method == "heterofl" else ()
    overrides = (*texts, f"model.name={model}", "fleet.name=five-tier", *options)
    CHECKS[check](contract_experiment(method, overrides))


@pytest.mark.parametrize("check", CHECKS)
def test_method_passes_with_one_of_several_outputs(check: str) -> None:
    model = "model.name=tests.support.library_models:two_heads"
    CHECKS[check](contract_experiment("feddst", (model, "model.output=0")))
