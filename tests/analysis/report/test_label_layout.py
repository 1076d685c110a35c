"""Labels do not cover each other."""

from itertools import combinations, pairwise

import pytest

from orchestrator.analysis.report.label_layout import Box, place_labels, spread_rows


def test_rows_keep_their_order_and_their_distance() -> None:
    assert spread_rows([50.0, 10.0], 5.0, 0.0, 100.0) == [50.0, 10.0]
    rows = spread_rows([50.0, 51.0, 50.5, 99.0], 10.0, 0.0, 100.0)
    assert sorted(range(4), key=lambda idx: rows[idx]) == [0, 2, 1, 3]
    assert all(b - a >= 10.0 for a, b in pairwise(sorted(rows)))
    assert 0.0 <= min(rows) <= max(rows) <= 100.0


def test_rows_without_enough_room_start_at_the_top() -> None:
    assert spread_rows([5.0, 5.0, 5.0], 10.0, 0.0, 10.0) == pytest.approx([0.0, 10.0, 20.0])


def test_labels_of_near_points_cover_neither_each_other_nor_the_points() -> None:
    points = [(100.0 + 3 * idx, 100.0) for idx in range(5)]
    boxes = place_labels(points, [40.0] * 5, 12.0, Box(0, 0, 300, 300), 4.0)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_label_of_a_point_at_the_edge_stays_inside() -> None:
    area = Box(0, 0, 200, 200)
    (box,) = place_labels([(195.0, 100.0)], [60.0], 12.0, area, 4.0)
    assert box.is_inside(area)
    assert box.right < 195.0
