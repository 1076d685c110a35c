"""VGG-11 with batch norm, as FedLPS trains it on CIFAR-10."""

from collections import OrderedDict

from torch import nn

from orchestrator.models.architectures.mlp import dense_layers
from orchestrator.models.shapes import InputShape, Window, output_positions

#: output channels of each 3x3 convolution, by stage; a pool ends each stage
_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_POOL = Window(kernel=2, stride=2)


def vgg11(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build FedLPS's VGG-11 (code of arXiv 2412.07216): 9,231,114 parameters for 32x32 colour images, 10 classes.

    Batch norm keeps no running statistics, so that a prediction depends on its batch, also in evaluation. The model
    needs images of 32x32 pixels or more.
    """
    positions = output_positions("vgg11", input_shape, [_POOL] * len(_STAGES))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    num_inputs, depth = input_shape[0], 0
    for stage, widths in enumerate(_STAGES, start=1):
        for num_outputs in widths:
            depth += 1
            layers[f"conv{depth}"] = nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1)
            layers[f"norm{depth}"] = nn.BatchNorm2d(num_outputs, track_running_stats=False)
            layers[f"relu{depth}"] = nn.ReLU()
            num_inputs = num_outputs
        layers[f"pool{stage}"] = nn.MaxPool2d(_POOL.kernel, _POOL.stride)
    layers.update(dense_layers((num_inputs * positions, num_classes)))
    return nn.Sequential(layers)
