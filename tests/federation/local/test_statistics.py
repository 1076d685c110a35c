"""Loss and accuracy over the samples of all steps, by hand."""

import pytest
import torch

from orchestrator.federation.local.statistics import TrainingStatistics


def test_loss_is_the_mean_over_samples_and_not_over_batches() -> None:
    """4 samples with mean loss 0.5 and one with 2: (4 * 0.5 + 2) / 5 = 0.8."""
    statistics = TrainingStatistics()
    statistics.add(torch.tensor(0.5), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    statistics.add(torch.tensor(2.0), torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))
    assert statistics.mean_loss() == pytest.approx(0.8)


def test_accuracy_is_the_share_of_samples_whose_largest_logit_is_the_label() -> None:
    """2 of 3, then 0 of 1."""
    statistics = TrainingStatistics()
    logits = torch.tensor([[0.0, 1.0, -1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    statistics.add(torch.tensor(1.0), logits, torch.tensor([1, 0, 1]))
    assert statistics.accuracy() == pytest.approx(2 / 3)
    statistics.add(torch.tensor(1.0), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([2]))
    assert statistics.accuracy() == 2 / 4


def test_loss_and_accuracy_are_zero_before_the_first_batch() -> None:
    statistics = TrainingStatistics()
    assert (statistics.mean_loss(), statistics.accuracy()) == (0.0, 0.0)


def test_sums_keep_no_gradient_history() -> None:
    statistics = TrainingStatistics()
    logits = torch.zeros(2, 3, requires_grad=True)
    statistics.add(logits.sum(), logits, torch.tensor([0, 1]))
    assert statistics.mean_loss() == 0.0
    assert statistics.accuracy() == 0.5


def test_batches_of_stacked_models_count_like_single_batches() -> None:
    """4 samples with mean loss 0.5 and 1 correct, one with loss 2 that is correct: 0.8 and 2 of 5."""
    statistics = TrainingStatistics()
    correct = torch.tensor([True, False, False, False]), torch.tensor([True])
    statistics.extend(torch.tensor([0.5, 2.0]).unbind(), correct)
    assert statistics.mean_loss() == pytest.approx(0.8)
    assert statistics.accuracy() == pytest.approx(2 / 5)
