"""What is prepared from a config, and the experiments that are rejected before a run starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.errors import ConfigError, ModelError, RequestError
from tests.support.runs import fresh, prepared


def test_experiment_has_the_configured_parts() -> None:
    experiment = prepared("fleet.name=five-tier", "fleet.num_clients=10")
    assert experiment.model_spec == "mlp"
    assert experiment.dataset.name == "digits"
    assert experiment.partition.num_clients == 10
    assignment = experiment.setting.population.assignment
    assert sorted(assignment.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert experiment.setting is experiment.algorithm.setting
    assert (experiment.setting.num_clients, experiment.setting.seed) == (10, 0)
    for client_id in range(10):
        expected = experiment.fleet.profiles[assignment[client_id]]
        assert experiment.setting.profile_of(client_id, 0) is expected


def test_initial_parameters_have_the_default_distribution() -> None:
    experiment = prepared()
    assert experiment.initial.dtype == np.float32
    bound = 1 / 64**0.5  # torch's default for a layer of 64 inputs
    first = experiment.initial[: 64 * 200]
    assert np.abs(first).max() <= bound
    assert np.abs(first).max() > 0.99 * bound


def test_prepare_does_not_change_the_generator_of_torch() -> None:
    before = torch.get_rng_state()
    fresh("seed=77")
    assert torch.equal(torch.get_rng_state(), before)


def test_double_softmax_adds_a_softmax_without_parameters() -> None:
    experiment = prepared("model.double_softmax=true")
    module = experiment.build()
    output = module(torch.rand(3, 1, 8, 8))
    assert isinstance(module, nn.Sequential)
    assert torch.allclose(output.sum(dim=1), torch.ones(3))
    assert experiment.setting.layout == prepared().setting.layout


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("algorithm.name=randommask", "sparsity.level=0.9999"), "sparsity.level"),
        (("algorithm.name=feddst", "sparsity.level=0.9999"), "sparsity.level"),
        (("sparsity.level=0.5",), "sparsity.level"),
        (("algorithm.name=topk", "wire.value_dtype=int8"), "wire.value_dtype"),
        (("algorithm.name=scaffold", "wire.value_dtype=int8"), "wire.value_dtype"),
        (("algorithm.name=stc", "wire.value_dtype=int8"), "wire.value_dtype"),
        (("data.partition.kind=natural",), "data.partition.kind"),
        (("fleet.name=none",), "fleet.name"),
        (("model.name=none",), "model.name"),
        (("data.name=none",), "data.name"),
    ],
)
def test_invalid_experiments_are_rejected(overrides: tuple[str, ...], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        fresh(*overrides)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("model", "smallest"),
    [("normalised", 2), ("standardised", 2), ("normalised_maps", 1), ("linear", 1), ("dropout", 2)],
)
def test_smallest_training_batch_of_a_model(model: str, smallest: int) -> None:
    assert fresh(f"model.name=tests.support.models:{model}").setting.smallest_batch == smallest


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        (("training.batch_size=1",), "training.batch_size", 1),
        (
            ("data.partition.kind=quantity", "data.partition.min_samples=1", "fleet.num_clients=500"),
            "data.partition.min_samples",
            1,
        ),
    ],
)
def test_batches_too_small_for_batch_statistics_are_rejected(
    overrides: tuple[str, ...], field: str, value: int
) -> None:
    assert prepared("model.name=tests.support.models:linear", *overrides).setting.smallest_batch == 1
    with pytest.raises(ConfigError) as caught:
        fresh("model.name=tests.support.models:normalised", *overrides)
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize("model", ["two_heads", "no_gradient"])
def test_untrainable_model_is_rejected_before_the_run(model: str) -> None:
    name = f"tests.support.models:{model}"
    with pytest.raises(ModelError, match="in training mode") as caught:
        fresh(f"model.name={name}")
    assert (caught.value.field, caught.value.value) == ("model.name", name)


def test_prepare_does_not_change_statistics() -> None:
    """`prepare` tests the model on a copy."""
    experiment = fresh("model.name=tests.support.models:normalised")
    views = experiment.setting.layout.views(torch.from_numpy(experiment.initial.copy()))
    assert views["2.running_mean"].tolist() == [0.0] * 32
    assert views["2.running_var"].tolist() == [1.0] * 32


def test_model_without_submodels_is_rejected_with_its_layer(tmp_path: Path) -> None:
    """Only methods with submodels reject the model, which a user's file defines."""
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.conv, self.fc = nn.Conv2d(1, 4, 1), nn.Linear(256, num_classes)\n\n"
        "    def forward(self, images):\n"
        "        return self.fc(self.conv(images).view(-1, 256))\n\n\n"
        "def net(input_shape, num_classes):\n"
        "    return Net(num_classes)\n"
    )
    assert prepared(f"model.name={file}:net").setting.units == ()
    with pytest.raises(ModelError, match="view after conv") as caught:
        prepared(f"model.name={file}:net", "algorithm.name=heterofl")
    assert (caught.value.field, caught.value.value) == ("model.name", f"{file}:net")
