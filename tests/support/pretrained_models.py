"""Models that start from a published checkpoint; tests name them as `tests.support.pretrained_models:function`."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from orchestrator.models.shapes import InputShape


class ResnetBody(nn.Module):
    """torchvision's ResNet-18 with its 1000 outputs, and a new head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body, self.head = resnet18(), nn.Linear(1000, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.body(images.expand(-1, 3, -1, -1))))
        return logits


def resnet_body(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A ResNet-18 for grey images."""
    return ResnetBody(num_classes)
