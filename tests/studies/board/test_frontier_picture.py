"""The picture of accuracy against upload."""

from pathlib import Path

from PIL import Image

from orchestrator.studies.board.frontier_picture import write_frontier_picture
from orchestrator.studies.board.stored import Row


def _row(arm: str, mean: str, upload: str, **fields: str) -> Row:
    return {
        "study": "frontier",
        "scale": "quick",
        "setting": "digits",
        "arm": arm,
        "label": arm,
        "method": "fedavg",
        "metric": "personal_accuracy",
        "at": "end",
        "num_seeds": "3",
        "mean": mean,
        "half_width": "0.01",
        "upload_bytes": upload,
        **fields,
    }


def test_every_setting_has_a_panel(tmp_path: Path) -> None:
    """Two settings make the picture twice as wide. An arm without upload and one of low accuracy have a place."""
    rows = [_row("a", "0.95", "1e7"), _row("b", "0.9", "0"), _row("c", "0.4", "2e7", half_width="")]
    assert write_frontier_picture(rows, tmp_path / "one.png")
    both = [*rows, *(_row(row["arm"], row["mean"], "3e6", setting="mnist") for row in rows)]
    assert write_frontier_picture(both, tmp_path / "two.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.size == (2 * one.size[0], one.size[1])


def test_outcomes_of_other_studies_and_measures_are_left_out(tmp_path: Path) -> None:
    rows = [
        _row("a", "0.9", "1", study="other"),
        _row("a", "0.9", "1", metric="accuracy"),
        _row("a", "", "1"),
        _row("a", "0.9", "1", at="cap"),
    ]
    assert not write_frontier_picture(rows, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_picture_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [_row("a", "0.95", "1e7"), _row("b", "0.9", "1e5")]
    files = [tmp_path / "1.png", tmp_path / "2.png"]
    assert all(write_frontier_picture(rows, file) for file in files)
    assert files[0].read_bytes() == files[1].read_bytes()
