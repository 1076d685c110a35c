"""The fitted exponent of a curve."""

import pytest

from orchestrator.studies.slopes import fitted_slope
from orchestrator.tracking.record import RoundRecord


def _records(values: list[float]) -> list[RoundRecord]:
    return [RoundRecord(idx, 0, {"train/loss": value}) for idx, value in enumerate(values)]


def test_slope_of_a_power_law_is_its_exponent() -> None:
    records = _records([3.0 * (idx + 1) ** -0.5 for idx in range(50)])
    assert fitted_slope(records, "train/loss", 0) == pytest.approx(-0.5)


def test_fit_leaves_out_the_first_rounds() -> None:
    values = [100.0] * 10 + [2.0 * (idx + 1) ** -1.0 for idx in range(10, 40)]
    assert fitted_slope(_records(values), "train/loss", 10) == pytest.approx(-1.0)


@pytest.mark.parametrize("values", [[1.0, 0.5], [1.0, 0.5, 0.0, 0.2], [1.0, float("nan"), 0.5, 0.4], []])
def test_curve_without_three_positive_values_has_no_slope(values: list[float]) -> None:
    assert fitted_slope(_records(values), "train/loss", 0) is None
