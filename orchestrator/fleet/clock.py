"""The virtual clock computes emulated seconds from measured bytes and counted FLOPs, never from the wall clock."""

from dataclasses import dataclass

from orchestrator.fleet.profiles import DeviceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTime:
    """Emulated seconds of one client's task, by stage."""

    download_s: float
    compute_s: float
    upload_s: float

    @property
    def total_s(self) -> float:
        """Seconds of the whole task: the client downloads, then computes, then uploads."""
        return self.download_s + self.compute_s + self.upload_s


def client_time(
    profile: DeviceProfile, *, download_bytes: int, train_flops: float, upload_bytes: int
) -> ClientTime:
    """Return the seconds that a device of this profile needs for a task with these bytes and FLOPs."""
    return ClientTime(
        download_s=download_bytes / profile.downlink_bytes_per_s,
        compute_s=train_flops / profile.flops_per_s,
        upload_s=upload_bytes / profile.uplink_bytes_per_s,
    )
