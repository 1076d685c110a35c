"""The virtual clock: seconds of three clients, computed by hand."""

from dataclasses import replace

import pytest

from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import FLEETS

PHONE = DeviceProfile(name="phone", flops_per_s=2e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=4e6)
LAPTOP = DeviceProfile(name="laptop", flops_per_s=2e10, uplink_bytes_per_s=1e7, downlink_bytes_per_s=2e7)


@pytest.mark.parametrize(
    ("profile", "download_bytes", "train_flops", "upload_bytes", "stages"),
    [
        (PHONE, 8_000_000, 6e9, 500_000, (2.0, 3.0, 0.5)),
        (LAPTOP, 8_000_000, 6e9, 500_000, (0.4, 0.3, 0.05)),
        (PHONE, 0, 0.0, 2_000_000, (0.0, 0.0, 2.0)),
    ],
)
def test_client_time_by_hand(
    profile: DeviceProfile,
    download_bytes: int,
    train_flops: float,
    upload_bytes: int,
    stages: tuple[float, float, float],
) -> None:
    time = client_time(
        profile,
        download_bytes=download_bytes,
        train_flops=train_flops,
        unmasked_flops=train_flops,
        upload_bytes=upload_bytes,
    )
    assert (time.download_s, time.compute_s, time.upload_s) == pytest.approx(stages, rel=1e-12)
    assert time.total_s == pytest.approx(sum(stages), rel=1e-12)


@pytest.mark.parametrize(("efficiency", "compute_s"), [(0.0, 3.0), (0.25, 2.625), (0.5, 2.25), (1.0, 1.5)])
def test_device_saves_a_share_of_the_masked_flops(efficiency: float, compute_s: float) -> None:
    """6 GFLOP without the mask and 3 GFLOP under it, at 2 GFLOP/s."""
    profile = replace(PHONE, sparse_efficiency=efficiency)
    time = client_time(profile, download_bytes=0, train_flops=3e9, unmasked_flops=6e9, upload_bytes=0)
    assert (time.compute_s, time.compute_ideal_s, time.total_s) == (compute_s, 1.5, compute_s)


def test_mask_saves_no_time_by_default() -> None:
    assert PHONE.sparse_efficiency == 0.0
    assert all(p.sparse_efficiency == 0.0 for fleet in FLEETS.values() for p in fleet.profiles)


@pytest.mark.parametrize("efficiency", [0.0, 0.3, 0.7, 1.0])
def test_submodel_takes_the_same_time_at_every_efficiency(efficiency: float) -> None:
    """Equal counts give the bits of the plain quotient, and so does an efficiency of 1."""
    flops = 0.1 + 0.2
    profile = replace(PHONE, sparse_efficiency=efficiency)
    time = client_time(profile, download_bytes=0, train_flops=flops, unmasked_flops=flops, upload_bytes=0)
    assert time.compute_s == time.compute_ideal_s == flops / 2e9
    ideal = replace(PHONE, sparse_efficiency=1.0)
    masked = client_time(ideal, download_bytes=0, train_flops=flops, unmasked_flops=1e300, upload_bytes=0)
    assert masked.compute_s == flops / 2e9
