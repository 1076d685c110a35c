"""The convolutional models, compared with the layers of their papers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.models.registry import resolve_builder


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
