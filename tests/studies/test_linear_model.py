"""The convex model."""

import torch

from orchestrator.studies.linear_model import linear


def test_model_is_affine_in_its_inputs() -> None:
    model, x, y = linear((1, 8, 8), 10), torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    middle = model((x + y) / 2)
    torch.testing.assert_close(middle, (model(x) + model(y)) / 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 650
