"""Which methods and models must train one by one, and which reason the user reads."""

import pytest

from orchestrator.execution.bundles.plan import BundlePlan
from orchestrator.federation.local.stacked.obstacles import method_obstacle, model_obstacle
from orchestrator.models.shapes import random_input
from tests.support.runs import prepared

MODELS = "model.name=tests.support."


def _model_obstacle(*overrides: str) -> str | None:
    experiment = prepared(*overrides)
    inputs = random_input(experiment.dataset.input_shape, experiment.dataset.num_classes)
    return model_obstacle(experiment.new_model(), inputs)


@pytest.mark.parametrize("name", ["fedavg", "ssfl", "randommask", "dispfl", "fedper", "fedadam"])
def test_methods_with_plain_steps_have_no_obstacle(name: str) -> None:
    assert method_obstacle(prepared(f"algorithm.name={name}").algorithm) is None


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("fedprox", "grad_hook"),
        ("scaffold", "grad_hook"),
        ("apfl", "step"),
        ("subfedavg", "on_epoch"),
        ("heterofl", "loss"),
    ],
)
def test_method_with_a_hook_inside_its_epochs_is_named_with_the_hook(name: str, hook: str) -> None:
    assert method_obstacle(prepared(f"algorithm.name={name}").algorithm) == f"{name} has its own hook {hook}"


@pytest.mark.parametrize(
    "name", ["mlp", "vit", "tests.support.models:linear", "tests.support.library_models:plain"]
)
def test_built_in_and_own_models_have_no_obstacle(name: str) -> None:
    assert _model_obstacle(f"model.name={name}") is None


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("models:normalised", "the model has statistics (2.running_mean)"),
        ("unstackable_models:noisy", "the model uses random numbers in training"),
        ("unstackable_models:counting", "training changes the model's buffer num_passes"),
        ("unstackable_models:branching", "torch.func.vmap cannot map the model: RuntimeError"),
    ],
)
def test_reason_names_what_prevents_stacking(model: str, reason: str) -> None:
    assert (_model_obstacle(MODELS + model) or "").startswith(reason)


def test_reason_is_in_the_note_of_the_plan() -> None:
    experiment = prepared("runtime.cohort=4", f"{MODELS}unstackable_models:noisy")
    note = BundlePlan(experiment, uses_gpu=lambda share: False).note
    assert (
        note
        == "; clients train one by one, without runtime.cohort (the model uses random numbers in training)"
    )
