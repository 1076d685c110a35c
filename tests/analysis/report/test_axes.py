"""The units and scales of axes."""

import pytest

from orchestrator.analysis.options import Cost
from orchestrator.analysis.report.axes import cost_axis, is_logarithmic


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


def test_axes_of_bytes_and_flops_are_logarithmic_if_a_value_is_positive() -> None:
    assert is_logarithmic("upload", [0.0, 5.0])
    assert is_logarithmic("flops", [5.0])
    assert not is_logarithmic("upload", [0.0])
    assert not is_logarithmic("time", [1.0, 1000.0])
