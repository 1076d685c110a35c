"""Models with two 5x5 convolutions and a dense head, from papers on sparse federated learning.

Pooling comes before ReLU in all models. The two operations commute, in values and gradients, and this order is faster.
"""

from collections import OrderedDict

from torch import nn

from orchestrator.models.architectures.mlp import dense_layers
from orchestrator.models.shapes import InputShape, Window, output_positions

#: FedDST's pooling windows overlap: a map loses only two pixels along each side
_OVERLAPPING = Window(kernel=3, stride=1)
_HALVING = Window(kernel=2, stride=2)


def lenet_mnist(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedDST's model for MNIST (arXiv 2112.09824): 261,840 parameters for 28x28 grey images, 10 classes."""
    return _build("lenet_mnist", input_shape, num_classes, (10, 20), (50,), _OVERLAPPING)


def lenet_cifar(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedDST's model for CIFAR-10 (arXiv 2112.09824): 782,006 parameters for 32x32 colour, 10 classes."""
    return _build("lenet_cifar", input_shape, num_classes, (6, 16), (120, 84), _OVERLAPPING)


def lenet_cifar100(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedDST's model for CIFAR-100 (arXiv 2112.09824): 783,092 parameters for 32x32 colour, 100 classes."""
    return _build("lenet_cifar100", input_shape, num_classes, (6, 16), (120,), _OVERLAPPING)


def cnn_emnist(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedDST's model for EMNIST (code of arXiv 2112.09824): padded convolutions and 2048 hidden units."""
    return _build("cnn_emnist", input_shape, num_classes, (32, 64), (2048,), _HALVING, padding=2)


def cnn_mnist(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedLPS's model for MNIST (arXiv 2412.07216): 21,840 parameters for 28x28 grey images, 10 classes."""
    return _build("cnn_mnist", input_shape, num_classes, (10, 20), (50,), _HALVING)


def cnn_cifar(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build DisPFL's model for CIFAR (code of arXiv 2206.00187): 797,962 parameters for 32x32 colour, 10 classes."""
    return _build("cnn_cifar", input_shape, num_classes, (64, 64), (384, 192), _HALVING)


def _build(
    name: str,
    input_shape: InputShape,
    num_classes: int,
    channels: tuple[int, int],
    hidden: tuple[int, ...],
    pool: Window,
    padding: int = 0,
) -> nn.Module:
    convolution = Window(kernel=5, padding=padding)
    positions = output_positions(name, input_shape, (convolution, pool, convolution, pool))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    num_inputs = input_shape[0]
    for depth, num_outputs in enumerate(channels, start=1):
        layers[f"conv{depth}"] = nn.Conv2d(num_inputs, num_outputs, convolution.kernel, padding=padding)
        layers[f"conv{depth}_pool"] = nn.MaxPool2d(pool.kernel, pool.stride)
        layers[f"conv{depth}_relu"] = nn.ReLU()
        num_inputs = num_outputs
    layers.update(dense_layers((num_inputs * positions, *hidden, num_classes)))
    return nn.Sequential(layers)
