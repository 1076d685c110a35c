"""The built-in models: published parameter counts, image sizes, and forward passes layer by layer."""

import pytest
import torch

from orchestrator.errors import ModelError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import MODELS, resolve_builder


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "num_maskable", "num_dense"),
    [
        ("mlp", (1, 8, 8), 10, 64 * 200 + 200 * 100 + 100 * 10, 200 + 100 + 10),
        ("lenet_mnist", (1, 28, 28), 10, 261_750, 90),
        ("lenet_cifar", (3, 32, 32), 10, 781_770, 236),
        ("lenet_cifar100", (3, 32, 32), 100, 782_850, 242),
        ("cnn_emnist", (1, 28, 28), 62, 800 + 51_200 + 3136 * 2048 + 2048 * 62, 32 + 64 + 2048 + 62),
        ("cnn_mnist", (1, 28, 28), 10, 21_840 - (10 + 20 + 50 + 10), 10 + 20 + 50 + 10),
        ("cnn_cifar", (3, 32, 32), 10, 797_248, 64 + 64 + 384 + 192 + 10),
        ("vgg11", (3, 32, 32), 10, 9_231_114 - (3 * 2752 + 10), 3 * 2752 + 10),
        ("resnet18", (3, 32, 32), 10, 11_164_352, 9_610),
        ("resnet18", (3, 32, 32), 100, 11_210_432, 9_700),
        ("char_lstm", (40,), 65, 65 * 8 + 256 * 8 + 256 * 64 + 64 * 65, 2 * 256 + 65),
        # positions are maskable in a layout that no cost has made dense
        ("vit", (1, 8, 8), 10, 16 * 64 + 4 * 64 + 4 * 32_768 + 640, 64 + 4 * 704 + 128 + 10),
        ("char_transformer", (40,), 65, 65 * 64 + 40 * 64 + 2 * 32_768 + 65 * 64, 2 * 704 + 128 + 65),
    ],
)
def test_published_parameter_counts(
    name: str, input_shape: tuple[int, ...], num_classes: int, num_maskable: int, num_dense: int
) -> None:
    layout = ParameterLayout.of(resolve_builder(name)(input_shape, num_classes))
    assert (layout.num_maskable, layout.size) == (num_maskable, num_maskable + num_dense)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if "image" in entry.takes])
def test_models_take_any_image_size_and_number_of_channels(name: str) -> None:
    model = resolve_builder(name)((4, 35, 32), 7)
    logits = model(torch.rand(2, 4, 35, 32))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("mlp", 1),
        ("lenet_mnist", 13),
        ("lenet_cifar", 13),
        ("lenet_cifar100", 13),
        ("cnn_emnist", 4),
        ("cnn_mnist", 16),
        ("cnn_cifar", 16),
        ("vgg11", 32),
        ("resnet18", 1),
        ("vit", 1),
    ],
)
def test_smallest_image_of_a_model(name: str, smallest: int) -> None:
    builder = resolve_builder(name)
    assert builder((1, smallest, smallest), 2)(torch.rand(2, 1, smallest, smallest)).shape == (2, 2)
    if smallest > 1:
        with pytest.raises(ModelError, match=f"{smallest}x{smallest}") as caught:
            builder((1, 40, smallest - 1), 2)
        assert (caught.value.field, caught.value.value) == ("model.name", name)
