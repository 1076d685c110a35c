"""The fleet `phones-and-edge`: its order and its figures."""

from itertools import pairwise

import pytest

from orchestrator.fleet.registry import get_fleet


def test_phones_and_edge_profiles_are_in_ascending_order() -> None:
    """Each profile is faster and larger than the one before. Only boards and boxes reserve a part of a GPU."""
    profiles = get_fleet("phones-and-edge").profiles
    for smaller, larger in pairwise(profiles):
        assert smaller.flops_per_s < larger.flops_per_s
        assert smaller.uplink_bytes_per_s <= larger.uplink_bytes_per_s < larger.downlink_bytes_per_s
        assert smaller.memory_bytes is not None
        assert larger.memory_bytes is not None
        assert smaller.memory_bytes < larger.memory_bytes
        assert smaller.capability <= larger.capability
    for device in profiles:
        phone = device.name.startswith("phone")
        assert (device.num_gpus == 0.0) == phone
        assert device.num_gpus < 1.0
        assert (device.available_share < 1.0) == (device.dropout > 0.0) == phone


def test_phones_and_edge_figures_by_hand() -> None:
    """A quarter of 44.9 GFLOP/s and of 5.3 TFLOP/s; 4.97 and 84.33 Mbit/s in bytes."""
    basic, *_, box = get_fleet("phones-and-edge").profiles
    assert basic.flops_per_s == pytest.approx(11.225e9)
    assert box.flops_per_s == pytest.approx(1.325e12)
    assert basic.uplink_bytes_per_s == pytest.approx(621_250)
    assert box.downlink_bytes_per_s == pytest.approx(10_541_250)
    assert basic.available_share * basic.available_period_s == pytest.approx(8 * 3600)
