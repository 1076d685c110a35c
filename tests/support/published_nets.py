"""Models from papers that are not built in; tests name them as `tests.support.published_nets:function`."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape

#: output channels of each 3x3 convolution, by stage; a pool ends each stage
_VGG_STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}


def vgg11(input_shape: InputShape, num_classes: int) -> nn.Module:
    """The built-in VGG-11, written again, so that a test can compare the deeper VGGs' code with the built-in code."""
    return _vgg(11, input_shape, num_classes)


def vgg13(input_shape: InputShape, num_classes: int) -> nn.Module:
    """FedLPS's model for CIFAR-100 (code of arXiv 2412.07216)."""
    return _vgg(13, input_shape, num_classes)


def vgg16(input_shape: InputShape, num_classes: int) -> nn.Module:
    """FedLPS's model for Tiny-ImageNet."""
    return _vgg(16, input_shape, num_classes)


def reddit_lstm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """FedLPS's model for Reddit: texts of any length; the classes are the words."""
    return RedditLSTM(num_classes)


def resnet50(input_shape: InputShape, num_classes: int) -> nn.Module:
    """SSFL's ResNet-50 (code of arXiv 2405.09037): 3x3 stem, no first pool, 3, 4, 6 and 3 bottlenecks."""
    blocks, num_inputs = nn.Sequential(), 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            blocks.append(Bottleneck(num_inputs, width, stride=2 if stage and not block else 1))
            num_inputs = 4 * width
    return nn.Sequential(
        *_convolution(input_shape[0], 64, kernel=3),
        nn.ReLU(),
        blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(num_inputs, num_classes),
    )


def _vgg(depth: int, input_shape: InputShape, num_classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    num_inputs, height, width = input_shape
    for widths in _VGG_STAGES[depth]:
        for num_outputs in widths:
            layers += [
                nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1),
                nn.BatchNorm2d(num_outputs, track_running_stats=False),
                nn.ReLU(),
            ]
            num_inputs = num_outputs
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(num_inputs * height * width, num_classes))


class RedditLSTM(nn.Module):
    """Computes logits of the next word after each word of a text; decoder and embedding share their weight."""

    def __init__(self, num_words: int, num_features: int = 200, num_hidden: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words, num_features)
        self.lstm1 = nn.LSTM(num_features, num_hidden, batch_first=True)
        self.lstm2 = nn.LSTM(num_hidden, num_features, batch_first=True)
        self.decoder = nn.Linear(num_features, num_words)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[B, T] -> logits float32[B, T, num_words]."""
        logits: Tensor = self.decoder(self.lstm2(self.lstm1(self.embedding(tokens))[0])[0])
        return logits


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the width, with a shortcut."""

    def __init__(self, num_inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(num_inputs, width, kernel=1),
            nn.ReLU(),
            *_convolution(width, width, kernel=3, stride=stride),
            nn.ReLU(),
            *_convolution(width, 4 * width, kernel=1),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or num_inputs != 4 * width:
            self.shortcut.extend(_convolution(num_inputs, 4 * width, kernel=1, stride=stride))

    def forward(self, images: Tensor) -> Tensor:
        """float32[B, num_inputs, H, W] -> float32[B, 4 width, ceil(H / stride), ceil(W / stride)]."""
        return torch.relu(self.inner(images) + self.shortcut(images))


def _convolution(num_inputs: int, num_outputs: int, kernel: int, stride: int = 1) -> Iterator[nn.Module]:
    """Yield a convolution without bias, and its group norm."""
    yield nn.Conv2d(num_inputs, num_outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    yield nn.GroupNorm(min(32, num_outputs), num_outputs)
