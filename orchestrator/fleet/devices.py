"""Devices of a trace, as columns: their profiles, their own speeds, and when each of them is there.

Legend: N = devices, M = intervals.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.fleet.profiles import DeviceProfile

#: columns of `Devices.speeds`, fields of a DeviceProfile
SPEEDS = ("flops_per_s", "uplink_bytes_per_s", "downlink_bytes_per_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Devices:
    """What a trace says of each device.

    `profile` is int32[N]; `speeds` float64[N, 3] in the order of `SPEEDS` (None: the profile's); device i is there in
    `intervals[first[i]:first[i + 1]]`, float64[M, 2] of [from, until) in seconds, ascending and disjoint (None: all
    are there always). With `period_s` the intervals repeat.
    """

    profile: NDArray[np.int32]
    speeds: NDArray[np.float64] | None = None
    first: NDArray[np.int64] | None = None
    intervals: NDArray[np.float64] | None = None
    period_s: float | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.profile)

    def at_own_speed(self, device: int, profile: DeviceProfile) -> DeviceProfile:
        """The profile with that device's speeds."""
        if self.speeds is None:
            return profile
        flops, up, down = (float(x) for x in self.speeds[device])
        return replace(profile, flops_per_s=flops, uplink_bytes_per_s=up, downlink_bytes_per_s=down)

    def available_until(self, device: int, time_s: float) -> float:
        """End of the interval that `time_s` lies in; -inf where it lies in none, inf where there is no end."""
        if self.first is None or self.intervals is None:
            return float("inf")
        own = self.intervals[self.first[device] : self.first[device + 1]]
        base = 0.0 if self.period_s is None else time_s // self.period_s * self.period_s
        place = int(np.searchsorted(own[:, 0], time_s - base, side="right")) - 1
        if place < 0 or time_s - base >= own[place, 1]:
            return float("-inf")
        end = base + float(own[place, 1])
        whole_day = self.period_s is not None and own[place, 1] >= self.period_s and own[0, 0] <= 0.0
        if not whole_day:
            return end
        return float("inf") if place == 0 else end + float(own[0, 1])
