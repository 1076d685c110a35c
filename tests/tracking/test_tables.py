"""The table of costs per client."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator.tracking.tables import write_clients
from tests.support.partitions import write_partition


def write_lines(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def event(round_idx: int, client_id: int, **more: object) -> dict[str, object]:
    return {"round_idx": round_idx, "client_id": client_id, "profile": "phone", **more}


def test_write_clients_sums_the_events_and_gives_idle_clients_zeros(tmp_path: Path) -> None:
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


def test_write_clients_of_a_run_without_events(tmp_path: Path) -> None:
    partition = write_partition(tmp_path / "partition.parquet", np.array([[4, 0], [1, 1]]))
    write_clients(write_lines(tmp_path / "events.jsonl"), partition, tmp_path / "clients.parquet")
    assert pd.read_parquet(tmp_path / "clients.parquet")["num_participations"].tolist() == [0, 0]


def test_accuracies_of_the_last_evaluation_are_columns(tmp_path: Path) -> None:
    events = write_lines(tmp_path / "events.jsonl", event(0, 1, upload_bytes=1))
    partition = write_partition(tmp_path / "partition.parquet", np.array([[4, 0], [1, 1], [0, 3]]))
    scores = tmp_path / "client_scores.json"
    scores.write_text(json.dumps({"round_idx": 0, "scores": {"personal/accuracy": {"0": 0.5, "2": 1.0}}}))
    write_clients(events, partition, tmp_path / "clients.parquet", scores)
    column = pd.read_parquet(tmp_path / "clients.parquet")["personal_accuracy"]
    assert column[[0, 2]].to_list() == [0.5, 1.0]
    assert np.isnan(column[1])
