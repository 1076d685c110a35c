"""Plots of a run, read back as images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.tracking.plots import plot_curves, plot_partition
from orchestrator.tracking.record import RoundRecord
from tests.support.partitions import write_partition


def colours(path: Path) -> set[object]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 800
        found = image.convert("RGB").getcolors(1 << 20)
    return {colour for _, colour in found or []}


BLUE, ORANGE, GREEN = (31, 119, 180), (255, 127, 14), (44, 160, 44)  # tab10: classes 0, 1 and 2


@pytest.mark.parametrize("num_clients", [1, 20, 61, 400, 5000])
def test_plot_partition_shows_the_classes_with_samples(tmp_path: Path, num_clients: int) -> None:
    counts = np.zeros((num_clients, 3), dtype=np.int64)
    counts[:, 0], counts[:, 2] = 30, np.arange(num_clients) % 7 + 20
    plot_partition(write_partition(tmp_path / "partition.parquet", counts), tmp_path / "partition.png")
    with_legend = colours(tmp_path / "partition.png")
    assert {BLUE, ORANGE, GREEN} <= with_legend
    with Image.open(tmp_path / "partition.png") as image:
        pixels = np.asarray(image.convert("RGB"))[:, : int(0.88 * image.width)]  # without the legend
    areas = [int((pixels == colour).all(axis=2).sum()) for colour in (BLUE, ORANGE, GREEN)]
    assert areas[0] > areas[2] > 0
    assert areas[1] == 0


@pytest.mark.parametrize("num_classes", [20, 62, 100])
def test_plot_partition_of_many_classes(tmp_path: Path, num_classes: int) -> None:
    counts = np.ones((100, num_classes), dtype=np.int64)
    plot_partition(write_partition(tmp_path / "partition.parquet", counts), tmp_path / "partition.png")
    assert len(colours(tmp_path / "partition.png")) > num_classes


@pytest.mark.parametrize(
    ("metrics", "num_panels"),
    [
        ({"eval/accuracy": 0.5}, 1),
        ({"personal/accuracy_mean": 0.5, "comm/upload_bytes_total": 1e6}, 2),
        ({"eval/accuracy": 0.5, "comm/upload_bytes_total": 1e6, "sparsity/density": 0.2}, 3),
    ],
)
def test_plot_curves_has_a_panel_for_each_measured_metric(
    tmp_path: Path, metrics: dict[str, float], num_panels: int
) -> None:
    records = [RoundRecord(r, 0, metrics if r % 2 else {"train/loss": 1.0}) for r in range(60)]
    plot_curves(records, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 484 * num_panels  # 4.4 inches at 110 dots


def test_plot_curves_writes_no_file_without_points(tmp_path: Path) -> None:
    plot_curves([], tmp_path / "curves.png")
    plot_curves([RoundRecord(0, 0, {"train/loss": 1.0})], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
