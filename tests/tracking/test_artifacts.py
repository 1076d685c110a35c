"""Tables and pictures from a run's folder."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.tracking.artifacts import write_artifacts, write_first_artifacts
from orchestrator.tracking.plots import draw_curves, draw_partition
from orchestrator.tracking.record import RoundRecord
from orchestrator.tracking.tables import write_clients


def write_lines(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def event(round_idx: int, client_id: int, **more: object) -> dict[str, object]:
    return {"round_idx": round_idx, "client_id": client_id, "profile": "phone", **more}


def write_partition(path: Path, counts: NDArray[np.int64]) -> Path:
    classes = {f"class_{c}": counts[:, c] for c in range(counts.shape[1])}
    pd.DataFrame({"client_id": range(len(counts)), "num_train": counts.sum(axis=1), **classes}).to_parquet(
        path
    )
    return path


def test_clients_are_summed_by_name_and_idle_ones_are_zero(tmp_path: Path) -> None:
    events = write_lines(
        tmp_path / "events.jsonl",
        event(0, 2, upload_bytes=10, train_flops=1.5, download_s=0.25, num_examples=3, train_loss=9.0),
        event(1, 0, upload_bytes=5, train_flops=2.0, download_s=1.0, num_examples=4, train_loss=9.0),
        event(2, 2, upload_bytes=7, train_flops=0.5, download_s=0.5, num_examples=3, train_loss=9.0),
    )
    with events.open("a") as file:
        file.write('{"round_idx":3,"client_id":1,"upl')
    partition = write_partition(tmp_path / "partition.parquet", np.array([[4, 0], [1, 1], [0, 3]]))
    write_clients(events, partition, tmp_path / "clients.parquet")
    table = pd.read_parquet(tmp_path / "clients.parquet")
    assert table.to_dict(orient="list") == {
        "client_id": [0, 1, 2],
        "num_train": [4, 2, 3],
        "class_0": [4, 1, 0],
        "class_1": [0, 1, 3],
        "upload_bytes": [5, 0, 17],
        "train_flops": [2.0, 0.0, 2.0],
        "download_s": [1.0, 0.0, 0.75],
        "num_examples": [4, 0, 6],
        "num_participations": [1, 0, 2],
    }


def test_clients_of_a_run_without_events(tmp_path: Path) -> None:
    partition = write_partition(tmp_path / "partition.parquet", np.array([[4, 0], [1, 1]]))
    write_clients(write_lines(tmp_path / "events.jsonl"), partition, tmp_path / "clients.parquet")
    assert pd.read_parquet(tmp_path / "clients.parquet")["num_participations"].tolist() == [0, 0]


def colours(path: Path) -> set[object]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 800
        found = image.convert("RGB").getcolors(1 << 20)
    return {colour for _, colour in found or []}


BLUE, ORANGE, GREEN = (31, 119, 180), (255, 127, 14), (44, 160, 44)  # tab10: classes 0, 1 and 2


@pytest.mark.parametrize("num_clients", [1, 20, 61, 400, 5000])
def test_partition_picture_shows_the_classes_there_are(tmp_path: Path, num_clients: int) -> None:
    counts = np.zeros((num_clients, 3), dtype=np.int64)
    counts[:, 0], counts[:, 2] = 30, np.arange(num_clients) % 7 + 20
    draw_partition(write_partition(tmp_path / "partition.parquet", counts), tmp_path / "partition.png")
    with_legend = colours(tmp_path / "partition.png")
    assert {BLUE, ORANGE, GREEN} <= with_legend
    with Image.open(tmp_path / "partition.png") as image:
        pixels = np.asarray(image.convert("RGB"))[:, : int(0.88 * image.width)]  # without the legend
    areas = [int((pixels == colour).all(axis=2).sum()) for colour in (BLUE, ORANGE, GREEN)]
    assert areas[0] > areas[2] > 0
    assert areas[1] == 0


@pytest.mark.parametrize("num_classes", [20, 62, 100])
def test_partition_picture_of_many_classes(tmp_path: Path, num_classes: int) -> None:
    counts = np.ones((100, num_classes), dtype=np.int64)
    draw_partition(write_partition(tmp_path / "partition.parquet", counts), tmp_path / "partition.png")
    assert len(colours(tmp_path / "partition.png")) > num_classes


@pytest.mark.parametrize(
    ("metrics", "num_panels"),
    [
        ({"eval/accuracy": 0.5}, 1),
        ({"personal/accuracy_mean": 0.5, "comm/upload_bytes_total": 1e6}, 2),
        ({"eval/accuracy": 0.5, "comm/upload_bytes_total": 1e6, "sparsity/density": 0.2}, 3),
    ],
)
def test_curves_have_a_panel_for_what_was_measured(
    tmp_path: Path, metrics: dict[str, float], num_panels: int
) -> None:
    records = [RoundRecord(r, 0, metrics if r % 2 else {"train/loss": 1.0}) for r in range(60)]
    draw_curves(records, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 484 * num_panels  # 4.4 inches at 110 dots


def test_curves_of_nothing_are_no_file(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "curves.png")
    draw_curves([RoundRecord(0, 0, {"train/loss": 1.0})], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_missing_sources_are_skipped_and_bad_ones_named(tmp_path: Path) -> None:
    run_dir, out = tmp_path / "run", tmp_path / "out"
    run_dir.mkdir()
    out.mkdir()
    assert write_artifacts(run_dir, out, {"accuracy": 0.5}) == []
    assert [path.name for path in out.iterdir()] == ["summary.json"]
    assert json.loads((out / "summary.json").read_text()) == {"accuracy": 0.5}
    assert write_first_artifacts(run_dir, out) == []
    (run_dir / "events.parquet").write_bytes(b"a table")
    (run_dir / "metrics.jsonl").write_text("no record\n")
    problems = write_artifacts(run_dir, out, {})
    assert len(problems) == 1
    assert problems[0].startswith("the artifact curves.png could not be made (CheckpointError")
    assert (out / "events.parquet").read_bytes() == b"a table"
    (run_dir / "config.yaml").write_text("a: [1\n")
    (problem,) = write_first_artifacts(run_dir, out)
    assert problem.startswith("the artifact config.yaml could not be made (ParserError")
