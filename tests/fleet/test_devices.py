"""The devices of a trace: own speeds, and availability."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fleet.devices import Devices
from tests.support.fakes import DEVICE

INF = float("inf")


def devices(*intervals: list[tuple[float, float]], period_s: float | None = None) -> Devices:
    """One device for each list of intervals."""
    return Devices(
        profile=np.zeros(len(intervals), dtype=np.int32),
        first=np.cumsum([0, *(len(own) for own in intervals)]),
        intervals=np.array([pair for own in intervals for pair in own], dtype=np.float64),
        period_s=period_s,
    )


def test_device_has_its_own_speeds_or_those_of_its_profile() -> None:
    without_speeds = Devices(profile=np.zeros(2, dtype=np.int32))
    with_speeds = replace(without_speeds, speeds=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert (len(without_speeds), len(with_speeds)) == (2, 2)
    assert without_speeds.with_own_speeds(1, DEVICE) is DEVICE
    assert with_speeds.with_own_speeds(1, DEVICE) == replace(
        DEVICE, flops_per_s=4.0, uplink_bytes_per_s=5.0, downlink_bytes_per_s=6.0
    )


def test_device_without_intervals_is_always_available() -> None:
    assert Devices(profile=np.zeros(1, dtype=np.int32)).available_until(0, 1e9) == INF


@pytest.mark.parametrize(
    ("time_s", "until"),
    [(0, -INF), (9.9, -INF), (10, 20), (19.9, 20), (20, -INF), (29, -INF), (30, 40), (40, -INF), (1e6, -INF)],
)
def test_interval_includes_its_start_and_excludes_its_end(time_s: float, until: float) -> None:
    assert devices([(0, 1)], [(10, 20), (30, 40)], [(0, 50)]).available_until(1, time_s) == until


@pytest.mark.parametrize(
    ("time_s", "until"),
    [(5, -INF), (10, 20), (110, 120), (119, 120), (120, -INF), (330, 340), (1010, 1020), (1025, -INF)],
)
def test_intervals_repeat_after_the_period(time_s: float, until: float) -> None:
    assert devices([(10, 20), (30, 40)], period_s=100).available_until(0, time_s) == until


@pytest.mark.parametrize(
    ("time_s", "until"), [(0, 20), (19, 20), (20, -INF), (80, 120), (99, 120), (100, 120), (180, 220)]
)
def test_interval_continues_over_the_end_of_the_period(time_s: float, until: float) -> None:
    assert devices([(0, 20), (80, 100)], period_s=100).available_until(0, time_s) == until


def test_interval_stops_at_the_end_of_the_period_when_the_next_period_starts_without_one() -> None:
    for intervals in ([(80.0, 100.0)], [(1.0, 20.0), (80.0, 100.0)]):
        assert devices(intervals, period_s=100).available_until(0, 290) == 300


def test_interval_over_the_whole_period_never_ends() -> None:
    for time_s in (0, 99, 100, 12345):
        assert devices([(0, 100)], period_s=100).available_until(0, time_s) == INF


def test_intervals_do_not_repeat_without_a_period() -> None:
    assert devices([(0, 20), (80, 100)]).available_until(0, 90) == 100


@given(st.sets(st.integers(0, 11)).filter(bool), st.integers(0, 40), st.booleans())
def test_availability_equals_a_count_second_by_second(seconds: set[int], time_s: int, repeats: bool) -> None:
    """The device is available in these whole seconds of a period of 12; consecutive seconds form an interval."""
    starts = sorted(s for s in seconds if s - 1 not in seconds)
    ends = sorted(s + 1 for s in seconds if s + 1 not in seconds)
    period_s = 12.0 if repeats else None
    found = devices(list(zip(starts, ends, strict=True)), period_s=period_s).available_until(0, time_s)

    def available(second: int) -> bool:
        return (second % 12 if repeats else second) in seconds

    away = [second for second in range(time_s, time_s + 24) if not available(second)]
    expected = INF if not away else -INF if away[0] == time_s else away[0]
    assert found == expected
