"""The device of each client, and when the client is available.

All data are arrays with one entry a client, so that a million clients take a few MB.

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

    - `assignment`, int32[K]: the number of each client's profile; with `devices`, the client's row in `devices`.
    - `shares`: the profiles' weights.
    - `redraw`: every client gets a new profile in every round, at random by `shares`.
    - `phase`, float32[K] in [0, 1): the part of the first availability period that is over at time 0, for each client
      (None: every profile has an `available_share` of 1).
    """

    profiles: tuple[DeviceProfile, ...]
    shares: tuple[float, ...]
    assignment: NDArray[np.int32]
    devices: Devices | None = None
    phase: NDArray[np.float32] | None = None
    redraw: bool = False

    def __len__(self) -> int:
        """Return the number of clients, K."""
        return len(self.assignment)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the profiles, the clients' devices and their availability."""
        digest = sha256(repr((self.profiles, self.shares, self.redraw)).encode())
        efficiencies = [profile.sparse_efficiency for profile in self.profiles]
        if set(efficiencies) != {1.0}:  # runs of versions without this field have the efficiency 1
            digest.update(repr(efficiencies).encode())
        devices = self.devices
        columns = (
            () if devices is None else (devices.profile, devices.speeds, devices.first, devices.intervals)
        )
        for array in (self.assignment, self.phase, *columns):
            digest.update(b"none" if array is None else array.tobytes())
        digest.update(repr(None if devices is None else devices.period_s).encode())
        return digest.hexdigest()

    def profile_index(self, client_id: int, rng: np.random.Generator | None = None) -> int:
        """Return the index of the client's profile in `profiles`.

        With `redraw` the profile is random: `rng` is the client's own generator for the round.
        """
        if self.redraw:
            assert rng is not None
            edges = np.cumsum(self.shares)
            return int(np.searchsorted(edges / edges[-1], rng.random(), side="right"))
        index = int(self.assignment[client_id])
        return index if self.devices is None else int(self.devices.profile[index])

    def profile_of(self, client_id: int, rng: np.random.Generator | None = None) -> DeviceProfile:
        """Return the client's device as a profile; `rng` as in `profile_index`."""
        profile = self.profiles[self.profile_index(client_id, rng)]
        if self.devices is None:
            return profile
        return self.devices.with_own_speeds(int(self.assignment[client_id]), profile)

    def largest_capability(self, client_id: int) -> float:
        """Return the largest capability that the client's device can have in any round."""
        if self.redraw:
            weighted = zip(self.profiles, self.shares, strict=True)
            return max(profile.capability for profile, share in weighted if share > 0)
        return self.profile_of(client_id).capability

    @property
    def always_available(self) -> bool:
        """Whether every client is available at all times."""
        intervals = None if self.devices is None else self.devices.intervals
        return self.phase is None and intervals is None

    def available_until(self, client_id: int, time_s: float) -> float:
        """Return the emulated second until which the client is available without a break, seen from `time_s`.

        The result is -inf when the client is not available at `time_s`, and inf when it never leaves.
        """
        if self.devices is not None and self.devices.intervals is not None:
            return self.devices.available_until(int(self.assignment[client_id]), time_s)
        if self.phase is None:
            return float("inf")
        profile = self.profile_of(client_id)
        if profile.available_share >= 1.0:
            return float("inf")
        period_s = profile.available_period_s
        periods = time_s / period_s + float(self.phase[client_id])
        remaining_s = (int(periods) + profile.available_share - periods) * period_s
        return time_s + remaining_s if remaining_s > 0.0 else float("-inf")

    def profile_counts(self) -> dict[int, int]:
        """Return the number of clients by profile number, without profiles that have none.

        With `redraw` the numbers are expected values, at least 1.
        """
        if self.redraw:
            total = sum(self.shares)
            return {i: max(1, round(len(self) * s / total)) for i, s in enumerate(self.shares) if s > 0}
        indices = self.assignment if self.devices is None else self.devices.profile[self.assignment]
        counts = np.bincount(indices, minlength=len(self.profiles))
        return {index: int(count) for index, count in enumerate(counts) if count}
