"""Notes of commands on data that they leave out, and the error for data of one class."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import Command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file with 120 small images of two classes from six owners, and an array that the loader does not use."""
    rng = np.random.default_rng(0)
    file = tmp_path / "data.npz"
    labels = np.arange(120) % 2
    images = rng.integers(0, 100, (120, 4, 4), dtype=np.uint8) + np.uint8(100) * labels[:, None, None]
    np.savez(file, x=images, y=labels, client_ids=np.arange(120) // 20, weights=labels)
    return file


def _options(data: Path) -> tuple[str, ...]:
    return ("data.name=npz", f"data.root={data}", "data.partition.kind=natural", "model.name=mlp")


def _notes(text: str, data: Path) -> list[str]:
    """The two notes in a command's output: on the unused array, and on the unused owners.

    Each owner has 20 images, of which a fifth is for testing: 16 remain, so two owners have 32 of 96 samples.
    """
    notes = [line for line in text.splitlines() if "left out" in line]
    array, owners = notes
    assert str(data) in array
    assert "weights" in array
    assert re.search(r"\b2 of the 6\b.*\b32 of 96\b", owners)
    assert "fleet.num_clients=4" in owners
    return notes


def test_run_and_resume_print_the_same_notes(
    command: Command, quick: tuple[str, ...], storage: Path, data: Path
) -> None:
    result = command("run", *quick, *_options(data))
    assert result.code == 0
    notes = _notes(result.err, data)
    assert result.err.splitlines()[:2] == notes
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    assert json.loads((folder / "run.json").read_text())["data_notes"] == notes
    again = command("resume", folder, "training.rounds=3")
    assert again.code == 0
    assert _notes(again.err, data) == notes


def test_run_that_uses_all_data_prints_no_notes(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    result = command("run", *quick)
    assert result.code == 0
    assert "left out" not in result.err
    (about,) = storage.glob("*/run.json")
    assert "data_notes" not in json.loads(about.read_text())


def test_partition_prints_the_notes(command: Command, data: Path) -> None:
    result = command("partition", *_options(data), "fleet.num_clients=4", "training.clients_per_round=2")
    assert result.code == 0
    assert len(_notes(result.out, data)) == 2


def test_run_rejects_data_of_one_class(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.npz"
    np.savez(file, x=np.zeros((60, 8, 8), np.uint8), y=np.zeros(60, np.int64))
    result = command("run", *quick, "data.name=npz", f"data.root={file}")
    assert result.code == 2
    assert "one.npz" in result.error_line
    assert "60 training samples" in result.error_line
    assert "one class" in result.error_line
    assert not list(storage.glob("*"))
