"""A run whose evaluation gives no number says so, is marked, and ends as any other."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.support.command import Command

#: one step of each client: it leaves finite weights, so large that the logits overflow
DIVERGES = ("training.lr=1e25", "training.batch_size=2000")


def _data(folder: Path, what: str) -> tuple[str, ...]:
    """Sound digits, or images whose test part is finite but overflows the model."""
    if what == "step":
        return DIVERGES
    rng, file = np.random.default_rng(0), folder / "data.npz"
    x, y = rng.random((80, 8, 8), dtype=np.float32), np.arange(80) % 2
    scale = np.float32(3e38) if what == "test images" else np.float32(1)
    np.savez(file, x=x, y=y, x_test=x * scale, y_test=y)
    return ("data.name=npz", f"data.root={file}", "model.name=mlp", "training.lr=1e-3")


@pytest.mark.parametrize("what", ["step", "test images"])
def test_it_is_said_and_the_run_is_marked(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path, what: str
) -> None:
    words = (*quick, "tracking.enabled=true", *_data(tmp_path, what), "training.rounds=1")
    ended = command("run", *words)
    assert ended.code == 0
    said = [line for line in ended.err.splitlines() if "eval/loss" in line]
    assert len(said) == 2
    assert said[0].startswith("round 0: eval/loss is ")
    assert said[0].endswith("the model has probably diverged")
    assert said[1].startswith(
        "1 of 1 rounds have evaluations that are not finite, the first is round 0 (eval/loss)"
    )
    (summary,) = storage.glob("*/summary.json")
    assert json.loads(summary.read_text())["num_not_finite"] == 1
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("sparsefleet").experiment_id])
    assert (run.info.status, run.data.tags["summary.num_not_finite"]) == ("FINISHED", "1")


def test_a_resumption_says_it_of_earlier_rounds_too(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    assert command("run", *quick, *_data(tmp_path, "test images"), "training.rounds=1").code == 0
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    ended = command("resume", folder, "training.rounds=2")
    assert ended.code == 0
    assert "2 of 2 rounds have evaluations that are not finite, the first is round 0 (eval/loss)" in ended.err
    assert json.loads((folder / "summary.json").read_text())["num_not_finite"] == 2


def test_a_sound_run_says_nothing(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    ended = command("run", *quick, *_data(tmp_path, "nothing"))
    assert ended.code == 0
    assert "finite" not in ended.err
    (summary,) = storage.glob("*/summary.json")
    assert json.loads(summary.read_text())["num_not_finite"] == 0
