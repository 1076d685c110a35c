"""How often a run may lose what drives it."""

from orchestrator.runtime.restart_counter import MOST_LOSSES, RestartCounter


def test_a_run_that_gets_nowhere_is_given_up() -> None:
    losses = RestartCounter()
    assert [losses.one_more(0) for _ in range(MOST_LOSSES + 1)] == [True] * MOST_LOSSES + [False]
    assert losses.in_a_row == MOST_LOSSES + 1


def test_a_commit_in_between_begins_the_count_anew() -> None:
    losses = RestartCounter()
    assert all(losses.one_more(num_committed) for num_committed in range(20))
    assert losses.in_a_row == 1
    assert [losses.one_more(19) for _ in range(MOST_LOSSES)] == [True] * (MOST_LOSSES - 1) + [False]


def test_a_commit_fewer_is_no_progress() -> None:
    """A damaged commit is passed over: the run goes on from the one before, and may be lost there each time."""
    losses = RestartCounter()
    assert [losses.one_more(n) for n in (5, 4, 5, 5)] == [True, True, True, False]
