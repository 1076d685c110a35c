"""VGG-11: its norms have no running statistics."""

import torch
from torch import nn

from orchestrator.models.registry import resolve_builder


def test_vgg11_predicts_with_batch_statistics() -> None:
    model = resolve_builder("vgg11")((3, 32, 32), 10).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert list(model.buffers()) == []
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(images)[:2], model(images[:2]), atol=1e-4)
