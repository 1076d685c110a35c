"""What a run learns about its clients."""

from math import nan

from orchestrator.fleet.client_history import ClientHistory


def test_last_participation_counts() -> None:
    history = ClientHistory(3)
    history.record(1, 0, num_samples=10, mean_loss=2.0, seconds=5.0)
    history.record(2, 0, num_samples=4, mean_loss=nan, seconds=1.0)
    history.record(1, 3, num_samples=10, mean_loss=0.5, seconds=7.0)
    assert history.last_round.tolist() == [-1, 3, 0]
    assert history.utility.tolist() == [0, 5, 0]
    assert history.seconds.tolist() == [0, 7, 1]
    assert history.round_utility == {0: 20.0, 3: 5.0}


def test_client_rests_for_the_cooldown() -> None:
    """After round 3 and a cooldown of 2, the client may be sampled again in round 6."""
    history = ClientHistory(2)
    history.record(0, 3, num_samples=1, mean_loss=1.0, seconds=1.0)
    assert [history.rested(0, r, 2) for r in (4, 5, 6)] == [False, False, True]
    assert history.rested(1, 0, 99)
    assert history.rested(0, 4, 0)
