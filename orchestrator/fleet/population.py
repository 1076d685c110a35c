"""Which device each client has, and when it is there: arrays by client, so that a million of them are a few MB.

Legend: K = clients.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from orchestrator.fleet.devices import Devices
from orchestrator.fleet.profiles import DeviceProfile


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """The devices of K clients.

    `assignment` is int32[K]: each client's profile, or, with `devices`, its row there. `shares` are the profiles'
    weights; with `redraw` a client has a new profile each round, drawn by them. `phase` is float32[K] in [0, 1), the
    start of each client's day as a share of it (None: no profile has an `available_share` below 1).
    """

    profiles: tuple[DeviceProfile, ...]
    shares: tuple[float, ...]
    assignment: NDArray[np.int32]
    devices: Devices | None = None
    phase: NDArray[np.float32] | None = None
    redraw: bool = False

    def __len__(self) -> int:
        """K."""
        return len(self.assignment)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the profiles and who has which device when."""
        digest = sha256(repr((self.profiles, self.shares, self.redraw)).encode())
        devices = self.devices
        columns = (
            () if devices is None else (devices.profile, devices.speeds, devices.first, devices.intervals)
        )
        for array in (self.assignment, self.phase, *columns):
            digest.update(b"none" if array is None else array.tobytes())
        digest.update(repr(None if devices is None else devices.period_s).encode())
        return digest.hexdigest()

    def profile_index(self, client_id: int, rng: np.random.Generator | None = None) -> int:
        """Number of the client's profile; with `redraw` it is drawn from `rng`, the client's own for the round."""
        if self.redraw:
            assert rng is not None
            edges = np.cumsum(self.shares)
            return int(np.searchsorted(edges / edges[-1], rng.random(), side="right"))
        index = int(self.assignment[client_id])
        return index if self.devices is None else int(self.devices.profile[index])

    def profile_of(self, client_id: int, rng: np.random.Generator | None = None) -> DeviceProfile:
        """The client's device; `rng` as in `profile_index`."""
        profile = self.profiles[self.profile_index(client_id, rng)]
        if self.devices is None:
            return profile
        return self.devices.at_own_speed(int(self.assignment[client_id]), profile)

    def largest_capability(self, client_id: int) -> float:
        """The most that the client's device can hold in any round."""
        if self.redraw:
            drawn = zip(self.profiles, self.shares, strict=True)
            return max(profile.capability for profile, share in drawn if share > 0)
        return self.profile_of(client_id).capability

    @property
    def always_there(self) -> bool:
        """Whether every client can be asked at any time."""
        intervals = None if self.devices is None else self.devices.intervals
        return self.phase is None and intervals is None

    def available_until(self, client_id: int, time_s: float) -> float:
        """When the client that is there at `time_s` leaves, in emulated seconds; -inf where it is not there."""
        if self.devices is not None and self.devices.intervals is not None:
            return self.devices.available_until(int(self.assignment[client_id]), time_s)
        if self.phase is None:
            return float("inf")
        profile = self.profile_of(client_id)
        if profile.available_share >= 1.0:
            return float("inf")
        period_s = profile.available_period_s
        days = time_s / period_s + float(self.phase[client_id])
        left_s = (int(days) + profile.available_share - days) * period_s
        return time_s + left_s if left_s > 0.0 else float("-inf")

    def profile_counts(self) -> dict[int, int]:
        """Clients of each profile that has any, by profile number; with `redraw` their expected numbers, at least 1."""
        if self.redraw:
            total = sum(self.shares)
            return {i: max(1, round(len(self) * s / total)) for i, s in enumerate(self.shares) if s > 0}
        indices = self.assignment if self.devices is None else self.devices.profile[self.assignment]
        counts = np.bincount(indices, minlength=len(self.profiles))
        return {index: int(count) for index, count in enumerate(counts) if count}
