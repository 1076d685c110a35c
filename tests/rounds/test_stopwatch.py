"""How the stopwatch attributes time; every expected value follows from the times of a planned clock."""

from contextlib import suppress

from orchestrator.rounds.stopwatch import Stopwatch


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_time_of_an_inner_block_does_not_count_for_the_outer_one() -> None:
    """1 s other, 2 s fold, 4 s wait within it, 8 s fold, 16 s other."""
    clock = Clock()
    stopwatch = Stopwatch(clock)
    clock.now_s += 1
    with stopwatch.measure("fold"):
        clock.now_s += 2
        with stopwatch.measure("wait"):
            clock.now_s += 4
        clock.now_s += 8
    clock.now_s += 16
    assert stopwatch.lap(1) == {
        "time/driver_other_s": 17.0,
        "time/driver_fold_s": 10.0,
        "time/driver_wait_s": 4.0,
        "time/client_idle_s": 31.0,
    }


def test_activity_continues_after_an_error_in_an_inner_block() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with stopwatch.measure("fold"):
        with suppress(ZeroDivisionError), stopwatch.measure("wait"):
            clock.now_s += 1
            raise ZeroDivisionError
        clock.now_s += 2
    found = stopwatch.lap(1)
    assert (found["time/driver_wait_s"], found["time/driver_fold_s"]) == (1.0, 2.0)


def test_lap_counts_from_the_last_lap_also_within_a_block() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with stopwatch.measure("evaluate"):
        clock.now_s += 3
        assert stopwatch.lap(1)["time/driver_evaluate_s"] == 3.0
        clock.now_s += 5
    assert stopwatch.lap(1)["time/driver_evaluate_s"] == 5.0


def test_clients_are_idle_while_their_processes_run_no_task() -> None:
    """Two processes have 20 s in 10 s of wall-clock time; the tasks took 3 + 4 + 1 s."""
    clock = Clock()
    stopwatch = Stopwatch(clock)
    clock.now_s += 10
    stopwatch.add_client({"train": 3.0, "encode": 1.0})
    stopwatch.add_client({"train": 4.0})
    found = stopwatch.lap(2)
    assert found["time/client_train_s"] == 7.0
    assert found["time/client_encode_s"] == 1.0
    assert found["time/client_idle_s"] == 12.0
    assert stopwatch.lap(2) == {"time/driver_other_s": 0.0, "time/client_idle_s": 0.0}
