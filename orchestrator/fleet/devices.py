"""The devices of a trace, stored as columns: profile, own speeds and availability of each device.

Legend: N = devices, M = intervals.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.fleet.profiles import DeviceProfile

#: columns of `Devices.speeds`; each is a field of DeviceProfile
SPEEDS = ("flops_per_s", "uplink_bytes_per_s", "downlink_bytes_per_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Devices:
    """The devices that a trace describes.

    - `profile`, int32[N]: the number of each device's profile.
    - `speeds`, float64[N, 3] in the order of `SPEEDS`: each device's own speeds (None: the profile's speeds).
    - `first`, int64[N + 1], and `intervals`, float64[M, 2]: device i is available in
      `intervals[first[i]:first[i + 1]]`. Each interval is [from, until) in seconds. The intervals of a device are
      ascending and disjoint (None: every device is always available).
    - `period_s`: the intervals repeat after this number of seconds (None: they do not repeat).
    """

    profile: NDArray[np.int32]
    speeds: NDArray[np.float64] | None = None
    first: NDArray[np.int64] | None = None
    intervals: NDArray[np.float64] | None = None
    period_s: float | None = None

    def __len__(self) -> int:
        """Return the number of devices, N."""
        return len(self.profile)

    def with_own_speeds(self, device: int, profile: DeviceProfile) -> DeviceProfile:
        """Return the profile with the device's own speeds, or unchanged when the trace has no speeds."""
        if self.speeds is None:
            return profile
        flops, up, down = (float(x) for x in self.speeds[device])
        return replace(profile, flops_per_s=flops, uplink_bytes_per_s=up, downlink_bytes_per_s=down)

    def available_until(self, device: int, time_s: float) -> float:
        """Return the end of the interval that contains `time_s`.

        The result is -inf when no interval contains `time_s`, and inf when the interval never ends.
        """
        if self.first is None or self.intervals is None:
            return float("inf")
        own = self.intervals[self.first[device] : self.first[device + 1]]
        base = 0.0 if self.period_s is None else time_s // self.period_s * self.period_s
        index = int(np.searchsorted(own[:, 0], time_s - base, side="right")) - 1
        if index < 0 or time_s - base >= own[index, 1]:
            return float("-inf")
        end = base + float(own[index, 1])
        wraps = self.period_s is not None and own[index, 1] >= self.period_s and own[0, 0] <= 0.0
        if not wraps:
            return end
        return float("inf") if index == 0 else end + float(own[0, 1])
