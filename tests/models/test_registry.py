"""From a model config to a module."""

from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.config.sections import ModelConfig
from orchestrator.errors import ConfigError, ModelError
from orchestrator.models.registry import MODELS, build_model, resolve_builder, resolve_name

SHAPE = (1, 4, 4)


def _from_source(folder: Path, source: str) -> ModelConfig:
    """A config whose model is built by the function `build` with this body."""
    path = folder / "model.py"
    path.write_text(f"from torch import nn\ndef build(input_shape, num_classes):\n    {source}\n")
    return ModelConfig(name=f"{path}:build")


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_names_a_builder_and_says_what_it_is(name: str) -> None:
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
        ("auto", (40,), None, "char_lstm"),
        ("auto", (40,), "char_lstm", "char_lstm"),
        ("mine.py:build", (40,), "char_lstm", "mine.py:build"),
    ],
)
def test_auto_is_the_data_sets_usual_model(
    name: str, input_shape: tuple[int, ...], default: str | None, expected: str
) -> None:
    assert resolve_name(name, input_shape, default) == expected


@pytest.mark.parametrize(
    ("name", "input_shape", "default", "problem"),
    [
        (
            "mlp",
            (40,),
            "char_lstm",
            "model.name=mlp: it takes images, but the data set holds texts; use char_lstm",
        ),
        ("vgg11", (40,), None, "it takes images, but the data set holds texts; use char_lstm"),
        ("char_lstm", (1, 8, 8), "lenet_mnist", "holds images; use lenet_mnist, or another data.name"),
        ("char_lstm", (1, 8, 8), None, "it takes texts, but the data set holds images; use mlp"),
    ],
)
def test_model_for_inputs_of_another_kind_is_refused(
    name: str, input_shape: tuple[int, ...], default: str | None, problem: str
) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_name(name, input_shape, default)
    assert problem in str(caught.value)


@pytest.mark.parametrize("side", [1, 15, 16, 17, 64])
def test_auto_without_a_default_can_always_be_built(side: int) -> None:
    assert isinstance(build_model(ModelConfig(), (2, side, side), 3, None), nn.Module)


def test_model_is_in_training_mode_with_untouched_statistics(tmp_path: Path) -> None:
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
def test_double_softmax_gives_probabilities_under_the_same_parameter_names(name: str) -> None:
    plain = build_model(ModelConfig(name=name), SHAPE, 3, None)
    model = build_model(ModelConfig(name=name, double_softmax=True), SHAPE, 3, None)
    assert list(model.state_dict()) == list(plain.state_dict())
    model.load_state_dict(plain.state_dict())
    images = torch.rand(5, *SHAPE)
    torch.testing.assert_close(model(images), torch.softmax(plain(images), dim=1))


def test_double_softmax_follows_a_module_of_another_class(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Flatten() if num_classes == 16 else None")
    config = config.model_copy(update={"double_softmax": True})
    model = build_model(config, SHAPE, 16, None)
    torch.testing.assert_close(model(torch.ones(2, *SHAPE)), torch.full((2, 16), 1 / 16))


def test_model_of_the_user_by_file(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes))")
    assert build_model(config, SHAPE, 3, None)(torch.zeros(5, *SHAPE)).shape == (5, 3)


def test_lazy_layers_are_materialised(tmp_path: Path) -> None:
    config = _from_source(tmp_path, "return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))")
    assert build_model(config, SHAPE, 3, None).get_parameter("1.weight").shape == (3, 16)


def test_unknown_name_is_refused_with_a_near_match() -> None:
    with pytest.raises(
        ModelError, match=r"model\.name=resnet_18: there is no such model; did you mean 'resnet18'\?"
    ):
        resolve_builder("resnet_18")


def test_unknown_name_without_a_near_match_lists_the_models() -> None:
    with pytest.raises(ModelError, match=r"choose one of mlp, .*char_lstm, or path/to/file\.py:function"):
        resolve_builder("zzz")


def test_missing_file_is_refused_under_model_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.name="):
        resolve_builder(f"{tmp_path}/absent.py:build")


def test_object_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ModelError, match="it is a str; name a function"):
        resolve_builder("string:digits")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "raise RuntimeError('no weights')",
            r"building it for images of \(1, 4, 4\) raised RuntimeError: no weights",
        ),
        ("return nn.Linear", "it built a type"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))", r"two images give \(2, 4\), not \(2, 3\)"),
        ("return nn.Linear(4, 3)", r"two images give \(2, 1, 4, 3\), not \(2, 3\)"),
        ("return nn.Sequential(nn.Flatten(), nn.LSTM(16, 3))", "two images give tuple"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(9, 3))", "a batch of images .* raised RuntimeError"),
    ],
)
def test_model_that_does_not_classify_these_images_is_refused(
    tmp_path: Path, source: str, problem: str
) -> None:
    with pytest.raises(ModelError, match=problem):
        build_model(_from_source(tmp_path, source), SHAPE, 3, None)


def test_model_of_the_user_is_tried_on_tokens_where_the_data_is_text(tmp_path: Path) -> None:
    tokens = torch.tensor([[0, 1, 2], [2, 2, 2]])
    bags = _from_source(tmp_path, "return nn.EmbeddingBag(5, num_classes)")
    assert build_model(bags, (3,), 5, None)(tokens).shape == (2, 5)
    (tmp_path / "other").mkdir()
    dense = _from_source(tmp_path / "other", "return nn.Linear(3, num_classes)")
    with pytest.raises(ModelError, match=r"a batch of texts of \(3,\) raised RuntimeError"):
        build_model(dense, (3,), 5, None)


def test_too_small_an_image_is_refused_by_the_nets_own_error() -> None:
    with pytest.raises(ModelError, match="needs 32x32"):
        build_model(ModelConfig(name="vgg11"), (3, 28, 28), 10, None)
