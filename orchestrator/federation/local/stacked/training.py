"""The local epochs of several clients' tasks in lock-step. `local/training.py` is the reference for one task.

Every task keeps a row of its own: its mask, its gradient norm for the clipping and its moments. A task's result
therefore depends on the other tasks only by the rounding of batched kernels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from orchestrator.config.training import TrainingConfig
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.optimizers import make_optimizer
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.stacked.module import StackedModule


def train_together(runs: Sequence[LocalRun[Any]], rows: Sequence[Tensor]) -> Tensor:
    """Run all local epochs of tasks whose model and mask are loaded; return their trained models, float32[K, D].

    `rows` are the loaded float32[D] vectors. All runs use one module, belong to one round and have the same batch
    sizes. The caller writes each returned row back into its run.
    """
    training, flat = runs[0].setting.training, runs[0].flat
    flat.module.train()
    stack, keep = StackedModule(flat.module, flat.layout, rows), _keep(runs)
    optimizer = make_optimizer(training, runs[0].task.round_idx, runs[0].planned_steps)
    for epochs in zip(*(run.batches() for run in runs), strict=True):
        losses, correct = [], []
        for batches in zip(*epochs, strict=True):
            inputs, labels = (torch.stack(tensors) for tensors in zip(*batches, strict=True))
            gradient = stack.backward(inputs, labels)
            losses.append(gradient.losses)
            correct.append(gradient.correct)
            _mask_and_clip(gradient.values, keep, training)
            optimizer.step(stack.values, gradient.values)
            if keep is not None:
                stack.values.mul_(keep)
        _count(runs, losses, correct, batches)
    for run in runs:
        run.trained_models.add(flat)
        run.metrics["loss"] = run.statistics.mean_loss()
    return stack.values


def _keep(runs: Sequence[LocalRun[Any]]) -> Tensor | None:
    """float32[K, T]: 1 where a step may change a task's model, 0 elsewhere; None if no task has a mask."""
    if all(run.step_mask is None for run in runs):
        return None
    masks = (torch.ones_like(run.grad) if run.step_mask is None else run.step_mask for run in runs)
    return torch.stack(tuple(masks))


def _mask_and_clip(grad: Tensor, keep: Tensor | None, training: TrainingConfig) -> None:
    """Mask float32[K, T] gradients, and clip the norm of each row, as `LocalRun.apply_gradient` does."""
    if keep is not None:
        grad.mul_(keep)
    if training.clip_norm is not None:
        norms = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
        grad.mul_(torch.clamp(training.clip_norm / (norms + 1e-6), max=1.0))


def _count(
    runs: Sequence[LocalRun[Any]], losses: list[Tensor], correct: list[Tensor], last: tuple[Batch, ...]
) -> None:
    """Give each task its statistics, costs and last batch of an epoch.

    `losses` float32[K] and `correct` bool[K, B] are those of the epoch's steps.
    """
    for run, own_losses, batch, own_correct in zip(
        runs, torch.stack(losses, dim=1), last, _rows(correct), strict=True
    ):
        run.statistics.extend(own_losses.unbind(), own_correct)
        for predictions in own_correct:
            run.flops.add_steps(len(predictions))
        run.last_batch = batch


def _rows(correct: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The predictions of each task, step by step."""
    return zip(*(of_step.unbind() for of_step in correct), strict=True)
