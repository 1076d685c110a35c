"""The virtual clock: seconds of three clients, computed by hand."""

import pytest

from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import DeviceProfile

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
        profile, download_bytes=download_bytes, train_flops=train_flops, upload_bytes=upload_bytes
    )
    assert (time.download_s, time.compute_s, time.upload_s) == pytest.approx(stages, rel=1e-12)
    assert time.total_s == pytest.approx(sum(stages), rel=1e-12)
