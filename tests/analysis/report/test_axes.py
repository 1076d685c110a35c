"""The units and scales of axes."""

import pytest

from orchestrator.analysis.options import Cost
from orchestrator.analysis.report.axes import cost_axis, spread_out


@pytest.mark.parametrize(
    ("cost", "largest", "unit", "label"),
    [
        ("upload", 999.0, 1.0, "uploaded bytes, B"),
        ("download", 2e6, 1e6, "downloaded bytes, MB"),
        ("flops", 3e13, 1e12, "training FLOPs, TFLOP"),
        ("time", 599.0, 1.0, "emulated time, s"),
        ("time", 600.0, 60.0, "emulated time, min"),
        ("time", 7200.0, 3600.0, "emulated time, h"),
    ],
)
def test_unit_of_an_axis_fits_its_largest_value(cost: Cost, largest: float, unit: float, label: str) -> None:
    axis = cost_axis(cost, [0.5, largest])
    assert (axis.unit, axis.label) == (unit, label)


def test_axis_of_a_wide_range_is_logarithmic() -> None:
    assert spread_out([1.0, 20.0])
    assert not spread_out([1.0, 19.0])
    assert not spread_out([0.0, 20.0])
    assert not spread_out([])
