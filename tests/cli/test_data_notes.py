"""What a command says of data that it reads only in part, and of data that it does not take."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import Command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 small images of two classes from six owners, and an array that nothing reads."""
    rng = np.random.default_rng(0)
    file = tmp_path / "data.npz"
    labels = np.arange(120) % 2
    images = rng.integers(0, 100, (120, 4, 4), dtype=np.uint8) + np.uint8(100) * labels[:, None, None]
    np.savez(file, x=images, y=labels, client_ids=np.arange(120) // 20, weights=labels)
    return file


def _options(data: Path) -> tuple[str, ...]:
    return ("data.name=npz", f"data.root={data}", "data.partition.kind=natural", "model.name=mlp")


def _notes(data: Path) -> list[str]:
    """Each owner has 20 images, of which a fifth is held out for testing: 16 remain."""
    return [
        f"left out of {data}: weights (not x, y, client_ids)",
        "2 of the 6 owners in the data take no part, and 32 of 96 training samples are left out: fleet.num_clients=4",
    ]


def test_a_run_and_its_resumption_say_what_is_left_out(
    command: Command, quick: tuple[str, ...], storage: Path, data: Path
) -> None:
    ended = command("run", *quick, *_options(data))
    assert ended.code == 0
    assert ended.err.splitlines()[:2] == _notes(data)
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    assert json.loads((folder / "run.json").read_text())["data_notes"] == _notes(data)
    again = command("resume", folder, "training.rounds=3")
    assert again.code == 0
    assert [line for line in again.err.splitlines() if "left out" in line] == _notes(data)


def test_a_run_that_uses_all_data_says_nothing(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    ended = command("run", *quick)
    assert ended.code == 0
    assert "left out" not in ended.err
    (about,) = storage.glob("*/run.json")
    assert "data_notes" not in json.loads(about.read_text())


def test_a_partition_says_what_is_left_out(command: Command, data: Path) -> None:
    ended = command("partition", *_options(data), "fleet.num_clients=4", "training.clients_per_round=2")
    assert ended.code == 0
    for note in _notes(data):
        assert note in ended.out


def test_a_run_on_one_class_is_refused(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.npz"
    np.savez(file, x=np.zeros((60, 8, 8), np.uint8), y=np.zeros(60, np.int64))
    ended = command("run", *quick, "data.name=npz", f"data.root={file}")
    assert ended.code == 2
    assert "all 60 training images (array y of one.npz) are of one class" in ended.err
    assert not list(storage.glob("*"))
