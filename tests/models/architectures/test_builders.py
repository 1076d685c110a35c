"""The built-in models: published parameter counts, image sizes, and forward passes layer by layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    ],
)
def test_published_parameter_counts(
    name: str, input_shape: tuple[int, ...], num_classes: int, num_maskable: int, num_dense: int
) -> None:
    layout = ParameterLayout.of(resolve_builder(name)(input_shape, num_classes))
    assert (layout.num_maskable, layout.num_dense) == (num_maskable, num_dense)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.takes == "image"])
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
    ],
)
def test_smallest_image_of_a_model(name: str, smallest: int) -> None:
    builder = resolve_builder(name)
    assert builder((1, smallest, smallest), 2)(torch.rand(2, 1, smallest, smallest)).shape == (2, 2)
    if smallest > 1:
        with pytest.raises(ModelError, match=f"{smallest}x{smallest}") as caught:
            builder((1, 40, smallest - 1), 2)
        assert (caught.value.field, caught.value.value) == ("model.name", name)


def _feddst(model: nn.Module, images: Tensor, num_linear: int) -> Tensor:
    for layer in ("conv1", "conv2"):
        images = F.conv2d(
            images, model.get_parameter(f"{layer}.weight"), model.get_parameter(f"{layer}.bias")
        )
        images = F.relu(F.max_pool2d(images, kernel_size=3, stride=1))
    return _head(model, images.reshape(len(images), -1), num_linear)


def _dispfl(model: nn.Module, images: Tensor, num_linear: int) -> Tensor:
    for layer in ("conv1", "conv2"):
        images = F.conv2d(
            images, model.get_parameter(f"{layer}.weight"), model.get_parameter(f"{layer}.bias")
        )
        images = F.max_pool2d(F.relu(images), kernel_size=2)
    return _head(model, images.reshape(len(images), -1), num_linear)


def _head(model: nn.Module, hidden: Tensor, num_linear: int) -> Tensor:
    for layer in range(1, num_linear + 1):
        weight, bias = model.get_parameter(f"fc{layer}.weight"), model.get_parameter(f"fc{layer}.bias")
        hidden = F.linear(hidden, weight, bias)
        hidden = F.relu(hidden) if layer < num_linear else hidden
    return hidden


@pytest.mark.parametrize(
    ("name", "input_shape", "published", "num_linear"),
    [
        ("lenet_mnist", (1, 28, 28), _feddst, 2),
        ("lenet_cifar", (3, 32, 32), _feddst, 3),
        ("lenet_cifar100", (3, 32, 32), _feddst, 2),
        ("cnn_mnist", (1, 28, 28), _dispfl, 2),
        ("cnn_cifar", (3, 32, 32), _dispfl, 3),
    ],
)
def test_forward_and_gradients_equal_those_of_the_published_layers(
    name: str,
    input_shape: tuple[int, int, int],
    published: Callable[[nn.Module, Tensor, int], Tensor],
    num_linear: int,
) -> None:
    """ReLU and max-pooling commute, so the order in which a paper applies them does not matter."""
    model = resolve_builder(name)(input_shape, 10)
    images = torch.randn(3, *input_shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = model(images), published(model, images, num_linear)
    assert torch.equal(ours, theirs)
    parameters = list(model.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), parameters),
        torch.autograd.grad(theirs.square().sum(), parameters),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_vgg11_predicts_with_batch_statistics() -> None:
    model = resolve_builder("vgg11")((3, 32, 32), 10).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert list(model.buffers()) == []
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(images)[:2], model(images[:2]), atol=1e-4)


def test_resnet18_normalises_in_groups_and_halves_the_image_three_times() -> None:
    model = resolve_builder("resnet18")((3, 32, 32), 10)
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
    # one after the stem, two in each of eight blocks, one in each of three projecting shortcuts
    assert len(norms) == 1 + 8 * 2 + 3
    assert {norm.num_groups for norm in norms} == {32}
    shapes = []
    images = torch.zeros(1, 3, 32, 32)
    for name, child in model.named_children():
        images = child(images)
        if name.startswith("stage"):
            shapes.append(tuple(images.shape[1:]))
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_resnet18_block_adds_its_input() -> None:
    block = resolve_builder("resnet18")((3, 8, 8), 10).get_submodule("stage1.1")
    with torch.no_grad():
        for parameter in block.get_submodule("norm2").parameters():
            parameter.zero_()
    images = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(images), F.relu(images))
