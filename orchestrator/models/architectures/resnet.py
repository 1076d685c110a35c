"""ResNet-18 for small images with group norm, as SSFL trains it on CIFAR."""

from collections import OrderedDict

from torch import Tensor, nn

from orchestrator.models.shapes import InputShape

_STAGE_CHANNELS = (64, 128, 256, 512)


def resnet18(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build a ResNet-18 with a 3x3 stem and without the first pool, for any image size.

    GroupNorm(min(32, C)) replaces batch norm. For colour images and 10 classes, the model has 11,164,352 convolution
    and linear weights and 9,610 other parameters.
    """
    stem = _STAGE_CHANNELS[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_convolution(input_shape[0], stem, kernel=3), norm1=_norm(stem), relu1=nn.ReLU()
    )
    num_inputs = stem
    for stage, channels in enumerate(_STAGE_CHANNELS, start=1):
        stride = 1 if stage == 1 else 2
        layers[f"stage{stage}"] = nn.Sequential(
            BasicBlock(num_inputs, channels, stride), BasicBlock(channels, channels, stride=1)
        )
        num_inputs = channels
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(num_inputs, num_classes)
    return nn.Sequential(layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the shortcut is a 1x1 convolution when the shape changes."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(num_inputs, num_outputs, kernel=3, stride=stride)
        self.norm1 = _norm(num_outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = _convolution(num_outputs, num_outputs, kernel=3)
        self.norm2 = _norm(num_outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or num_inputs != num_outputs:
            self.shortcut.append(_convolution(num_inputs, num_outputs, kernel=1, stride=stride))
            self.shortcut.append(_norm(num_outputs))
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Map float32[B, num_inputs, H, W] to float32[B, num_outputs, ceil(H / stride), ceil(W / stride)]."""
        hidden = self.relu1(self.norm1(self.conv1(images)))
        output: Tensor = self.relu2(self.norm2(self.conv2(hidden)) + self.shortcut(images))
        return output


def _convolution(num_inputs: int, num_outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(num_inputs, num_outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(min(32, channels), channels)
