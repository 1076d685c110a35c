"""ResNet-18: norms, image sizes and shortcuts."""

import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.models.registry import resolve_builder


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
