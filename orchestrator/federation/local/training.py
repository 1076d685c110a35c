"""Runs the local epochs of one task: training with a method's hooks, and plain fine-tuning."""

from typing import Protocol, TypeVar

from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun

C = TypeVar("C")


class LocalHooks(Protocol[C]):
    """The hooks that local training calls."""

    def step(self, run: "LocalRun[C]", batch: Batch) -> None:
        """Take one optimiser step on one mini-batch."""

    def on_batch(self, run: "LocalRun[C]", batches_done: int) -> None:
        """Called after each step; `batches_done` counts from 1 in every epoch, up to `run.num_batches`."""

    def on_epoch(self, run: "LocalRun[C]", epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""


def train(run: LocalRun[C], hooks: LocalHooks[C]) -> None:
    """Run all local epochs of one task."""
    run.flat.module.train()
    for epochs_done, epoch in enumerate(run.batches(), start=1):
        for batches_done, batch in enumerate(epoch, start=1):
            hooks.step(run, batch)
            run.last_batch = batch
            hooks.on_batch(run, batches_done)
        hooks.on_epoch(run, epochs_done)
    run.metrics["loss"] = run.statistics.mean_loss()


def fine_tune(run: LocalRun[C], epochs: int) -> None:
    """Continue to train the loaded model under its mask, with plain steps at the learning rate of round 0."""
    run.flat.module.train()
    run.reset_optimizer(round_idx=0)
    for epoch in run.batches("fine-tuning", epochs):
        for batch in epoch:
            run.backward(batch)
            run.apply_gradient()
    run.require_finite()
