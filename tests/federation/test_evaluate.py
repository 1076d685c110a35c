"""Predictions of a model, and the distribution of accuracies over clients."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.federation.evaluate import EVALUATION_BATCH, accuracy, distribution, predict
from orchestrator.models.parameters import FlatModule


def test_predictions_by_hand() -> None:
    """Logits are the two pixels: (2, 0) is class 0, (0, 1) class 1; loss is log(1 + e^-margin)."""
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))
    flat.load(torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]))
    images = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).view(3, 1, 1, 2)
    found = predict(flat, images, torch.tensor([0, 1, 0]))
    assert found.correct.tolist() == [True, True, False]
    assert found.loss.dtype == np.float64
    assert found.loss.tolist() == pytest.approx([np.log1p(np.exp(-m)) for m in (2, 1, -1)], rel=1e-12)


def test_images_keep_their_order_over_several_batches() -> None:
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    flat.load(torch.tensor([1.0, -1.0, 0.0, 0.0]))
    count = 2 * EVALUATION_BATCH + 3
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], count).astype(np.float32))
    found = predict(flat, signs.view(-1, 1, 1, 1), torch.zeros(count, dtype=torch.int64))
    assert found.correct.tolist() == (signs > 0).tolist()


def test_predictions_use_evaluation_mode_and_do_not_change_the_model() -> None:
    """Dropout is off. Batch norm uses its running statistics and does not change them."""
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2), nn.Dropout(0.9), nn.Linear(2, 2)))
    flat.module.train()
    params = flat.values.clone()
    images, labels = (
        torch.randn(40, 1, 1, 2, generator=torch.Generator().manual_seed(0)),
        torch.zeros(40).long(),
    )
    first, second = (predict(flat, images, labels) for _ in range(2))
    assert np.array_equal(first.loss, second.loss)
    assert torch.equal(flat.values, params)


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_model_is_restored(training: bool) -> None:
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    flat.module.train(training)
    predict(flat, torch.ones(1, 1, 1, 1), torch.tensor([1]))
    assert {module.training for module in flat.module.modules()} == {training}


def test_predictions_use_the_current_parameters() -> None:
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    images, labels = torch.ones(1, 1, 1, 1), torch.tensor([1])
    flat.load(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    right = predict(flat, images, labels)
    flat.load(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    wrong = predict(flat, images, labels)
    assert (right.correct.tolist(), wrong.correct.tolist()) == ([True], [False])


def test_accuracy_by_hand() -> None:
    """The model always predicts class 1. Two of the four labels are 1."""
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    flat.load(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert accuracy(flat, torch.ones(4, 1, 1, 1), torch.tensor([1, 0, 1, 0])) == 0.5


def test_spread_by_hand() -> None:
    """For 0, 0.5, 1, 1 the mean is .625 and the variance (.625^2 + .125^2 + 2 * .375^2) / 4.

    The 10th percentile is .3 of .5.
    """
    found = distribution(np.array([1.0, 0.0, 1.0, 0.5]), "p")
    assert found == pytest.approx({"p_mean": 0.625, "p_std": 0.171875**0.5, "p_p10": 0.15, "p_min": 0.0})
