"""The virtual clock computes emulated seconds from measured bytes and counted FLOPs, never from the wall clock.

A masked weight still takes part in the dense kernels of today's frameworks, so that a mask alone saves no time. The
profile's `sparse_efficiency` says how much a device saves.
"""

from dataclasses import dataclass

from orchestrator.fleet.profiles import DeviceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTime:
    """Emulated seconds of one client's task, by stage.

    `compute_ideal_s` is what `compute_s` would be with a sparse efficiency of 1.
    """

    download_s: float
    compute_s: float
    compute_ideal_s: float
    upload_s: float

    @property
    def total_s(self) -> float:
        """Seconds of the whole task: the client downloads, then computes, then uploads."""
        return self.download_s + self.compute_s + self.upload_s


def client_time(
    profile: DeviceProfile,
    *,
    download_bytes: int,
    train_flops: float,
    unmasked_flops: float,
    upload_bytes: int,
) -> ClientTime:
    """Return the seconds that a device of this profile needs for a task with these bytes and FLOPs.

    `train_flops` does not count masked weights, and `unmasked_flops` does. Both count a submodel as smaller.
    """
    not_saved = (1.0 - profile.sparse_efficiency) * (unmasked_flops - train_flops)
    return ClientTime(
        download_s=download_bytes / profile.downlink_bytes_per_s,
        compute_s=(train_flops + not_saved) / profile.flops_per_s,
        compute_ideal_s=train_flops / profile.flops_per_s,
        upload_s=upload_bytes / profile.uplink_bytes_per_s,
    )
