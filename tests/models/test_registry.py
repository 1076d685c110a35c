"""The models by name: defaults of data sets, builders, and modules built from a config."""

from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.config.sections import ModelConfig
from orchestrator.errors import ConfigError, ModelError
from orchestrator.models.registry import (
    MODELS,
    build_model,
    resolve_builder,
    resolve_memory_format,
    resolve_name,
)
from orchestrator.models.shapes import TextShape

SHAPE = (1, 4, 4)


def _from_source(folder: Path, source: str) -> ModelConfig:
    """A config that names a function `build` with this body."""
    path = folder / "model.py"
    path.write_text(f"from torch import nn\ndef build(input_shape, num_classes):\n    {source}\n")
    return ModelConfig(name=f"{path}:build")


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_names_a_builder_and_has_a_summary(name: str) -> None:
    assert MODELS[name].summary
    assert resolve_builder(name).__name__ == name


@pytest.mark.parametrize(
    ("name", "input_shape", "default", "expected"),
    [
        ("vgg11", (3, 32, 32), "mlp", "vgg11"),
        ("auto", (3, 32, 32), "vgg11", "vgg11"),
        ("auto", (1, 8, 8), None, "mlp"),
        ("auto", (1, 40, 15), None, "mlp"),
        ("auto", (3, 16, 16), None, "cnn_cifar"),
        ("auto", TextShape((40,)), None, "char_lstm"),
        ("auto", TextShape((40,)), "char_lstm", "char_lstm"),
        ("mine.py:build", TextShape((40,)), "char_lstm", "mine.py:build"),
    ],
)
def test_auto_is_the_data_sets_default_model(
    name: str, input_shape: tuple[int, ...], default: str | None, expected: str
) -> None:
    assert resolve_name(name, input_shape, default) == expected


@pytest.mark.parametrize(
    ("name", "input_shape", "default", "suggested"),
    [
        ("mlp", TextShape((40,)), "char_lstm", "char_lstm"),
        ("vgg11", TextShape((40,)), None, "char_lstm"),
        ("char_lstm", (1, 8, 8), "lenet_mnist", "lenet_mnist"),
        ("char_lstm", (1, 8, 8), None, "mlp"),
    ],
)
def test_model_for_inputs_of_another_kind_is_rejected(
    name: str, input_shape: tuple[int, ...], default: str | None, suggested: str
) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_name(name, input_shape, default)
    assert (caught.value.field, caught.value.value) == ("model.name", name)
    assert suggested in caught.value.remedy


@pytest.mark.parametrize(
    ("configured", "name", "input_shape", "expected"),
    [
        ("auto", "cnn_mnist", (1, 28, 28), "channels_last"),
        ("auto", "lenet_cifar", (3, 32, 32), "channels_last"),
        ("auto", "resnet18", (3, 32, 32), "contiguous"),
        ("auto", "mine.py:build", (3, 32, 32), "contiguous"),
        ("auto", "char_lstm", TextShape((40,)), "contiguous"),
        ("contiguous", "cnn_mnist", (1, 28, 28), "contiguous"),
        ("channels_last", "mine.py:build", (3, 32, 32), "channels_last"),
    ],
)
def test_memory_format_is_the_configured_one_or_the_models_own(
    configured: str, name: str, input_shape: tuple[int, ...], expected: str
) -> None:
    config = ModelConfig.model_validate({"memory_format": configured})
    assert resolve_memory_format(config, name, input_shape) == expected


def test_channels_last_format_is_rejected_for_texts() -> None:
    config = ModelConfig(memory_format="channels_last")
    with pytest.raises(ConfigError) as caught:
        resolve_memory_format(config, "char_lstm", TextShape((40,)))
    assert (caught.value.field, caught.value.value) == ("model.memory_format", "channels_last")


@pytest.mark.parametrize("side", [1, 15, 16, 17, 64])
def test_auto_without_a_default_builds_a_model_for_any_image_size(side: int) -> None:
    assert isinstance(build_model(ModelConfig(), (2, side, side), 3, None), nn.Module)


def test_new_model_is_in_training_mode_with_initial_statistics(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 3))")
    model = build_model(config, SHAPE, 3, None)
    assert all(m.training for m in model.modules())
    assert model.get_buffer("0.num_batches_tracked").item() == 0
    assert model.get_buffer("0.running_var").item() == 1


def test_initial_weights_follow_the_global_seed() -> None:
    vectors = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model(ModelConfig(name="mlp"), SHAPE, 3, None)
        vectors.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("name", ["mlp", "resnet18"])
def test_double_softmax_returns_probabilities_and_keeps_parameter_names(name: str) -> None:
    plain = build_model(ModelConfig(name=name), SHAPE, 3, None)
    model = build_model(ModelConfig(name=name, double_softmax=True), SHAPE, 3, None)
    assert list(model.state_dict()) == list(plain.state_dict())
    model.load_state_dict(plain.state_dict())
    images = torch.rand(5, *SHAPE)
    torch.testing.assert_close(model(images), torch.softmax(plain(images), dim=1))


def test_double_softmax_wraps_a_module_of_another_class(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Flatten() if num_classes == 16 else None")
    config = config.model_copy(update={"double_softmax": True})
    model = build_model(config, SHAPE, 16, None)
    torch.testing.assert_close(model(torch.ones(2, *SHAPE)), torch.full((2, 16), 1 / 16))


def test_users_model_is_built_from_a_file(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes))")
    assert build_model(config, SHAPE, 3, None)(torch.zeros(5, *SHAPE)).shape == (5, 3)


def test_lazy_layers_are_materialised(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))")
    assert build_model(config, SHAPE, 3, None).get_parameter("1.weight").shape == (3, 16)


@pytest.mark.parametrize(
    ("name", "suggested"), [("resnet_18", ["'resnet18'?"]), ("zzz", [*MODELS, "path/to/file.py:function"])]
)
def test_unknown_name_is_rejected_with_a_suggestion(name: str, suggested: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_builder(name)
    assert (caught.value.field, caught.value.value) == ("model.name", name)
    assert all(model in caught.value.remedy for model in suggested)


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    name = f"{tmp_path}/absent.py:build"
    with pytest.raises(ConfigError) as caught:
        resolve_builder(name)
    assert (caught.value.field, caught.value.value) == ("model.name", name)


def test_object_that_cannot_be_called_is_rejected() -> None:
    with pytest.raises(ModelError, match="is a str") as caught:
        resolve_builder("string:digits")
    assert (caught.value.field, caught.value.value) == ("model.name", "string:digits")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise RuntimeError('no weights')", "RuntimeError: no weights"),
        ("return nn.Linear", "returned a type"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))", "(2, 4)"),
        ("return nn.Linear(4, 3)", "(2, 1, 4, 3)"),
        ("return nn.Sequential(nn.Flatten(), nn.LSTM(16, 3))", "tuple"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(9, 3))", "forward pass of images"),
    ],
)
def test_model_that_does_not_classify_these_images_is_rejected(
    tmp_path: Path, source: str, problem: str
) -> None:
    config = _from_source(tmp_path, source)
    with pytest.raises(ModelError) as caught:
        build_model(config, SHAPE, 3, None)
    assert (caught.value.field, caught.value.value) == ("model.name", config.name)
    assert problem in caught.value.problem


def test_users_model_is_tried_on_tokens_for_a_text_data_set(tmp_path: Path) -> None:
    tokens = torch.tensor([[0, 1, 2], [2, 2, 2]])
    bags = _from_source(tmp_path, "return nn.EmbeddingBag(5, num_classes)")
    assert build_model(bags, TextShape((3,)), 5, None)(tokens).shape == (2, 5)
    (tmp_path / "other").mkdir()
    dense = _from_source(tmp_path / "other", "return nn.Linear(3, num_classes)")
    with pytest.raises(ModelError, match="forward pass of texts") as caught:
        build_model(dense, TextShape((3,)), 5, None)
    assert (caught.value.field, caught.value.value) == ("model.name", dense.name)


def test_builders_own_error_for_a_small_image_is_raised() -> None:
    with pytest.raises(ModelError, match="32x32") as caught:
        build_model(ModelConfig(name="vgg11"), (3, 28, 28), 10, None)
    assert (caught.value.field, caught.value.value) == ("model.name", "vgg11")
