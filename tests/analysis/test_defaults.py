"""Default upload caps and targets."""

import pytest

from orchestrator.analysis.defaults import default_caps, default_targets


@pytest.mark.parametrize(
    ("totals", "caps"),
    [
        ([123_456.0, 300_000.0], (30_000.0, 61_000.0, 120_000.0)),
        ([100.0, 40_000.0, 300.0], (100.0, 2000.0, 40_000.0)),
        ([0.0, 4000.0], (1000.0, 2000.0, 4000.0)),
        ([8.0], (2.0, 4.0, 8.0)),
        ([None, 0.0], ()),
        ([], ()),
    ],
)
def test_default_caps(totals: list[float | None], caps: tuple[float, ...]) -> None:
    assert default_caps(totals) == caps


@pytest.mark.parametrize(
    ("finals", "targets"),
    [([0.5, 0.9, None], (0.72, 0.81, 0.85)), ([1.0], (0.8, 0.9, 0.95)), ([0.0105], ()), ([None], ())],
)
def test_default_targets(finals: list[float | None], targets: tuple[float, ...]) -> None:
    assert default_targets(finals) == targets
