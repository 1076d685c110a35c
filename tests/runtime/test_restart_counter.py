"""How many consecutive losses of its driver a run survives."""

from orchestrator.runtime.restart_counter import MAX_LOSSES, RestartCounter


def test_run_without_progress_is_given_up_after_max_losses() -> None:
    losses = RestartCounter()
    assert [losses.record_loss(0) for _ in range(MAX_LOSSES + 1)] == [True] * MAX_LOSSES + [False]
    assert losses.num_losses == MAX_LOSSES + 1


def test_new_checkpoint_resets_the_count() -> None:
    losses = RestartCounter()
    assert all(losses.record_loss(num_committed) for num_committed in range(20))
    assert losses.num_losses == 1
    assert [losses.record_loss(19) for _ in range(MAX_LOSSES)] == [True] * (MAX_LOSSES - 1) + [False]


def test_fewer_checkpoints_are_no_progress() -> None:
    """A damaged checkpoint is skipped: the run restarts from the one before, and may be lost there each time."""
    losses = RestartCounter()
    assert [losses.record_loss(n) for n in (5, 4, 5, 5)] == [True, True, True, False]
