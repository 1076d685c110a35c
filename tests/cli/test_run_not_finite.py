"""A run whose evaluation is not finite: the command warns, marks the run, and still ends with 0."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.support.command import Command

#: one step per client; the weights stay finite but become so large that the logits overflow
DIVERGES = ("training.lr=1e25", "training.batch_size=2000")


def _data(folder: Path, what: str) -> tuple[str, ...]:
    """Options for valid data, for a diverging step, or for test images that are finite but overflow the model."""
    if what == "step":
        return DIVERGES
    rng, file = np.random.default_rng(0), folder / "data.npz"
    x, y = rng.random((80, 8, 8), dtype=np.float32), np.arange(80) % 2
    scale = np.float32(3e38) if what == "test images" else np.float32(1)
    np.savez(file, x=x, y=y, x_test=x * scale, y_test=y)
    return ("data.name=npz", f"data.root={file}", "model.name=mlp", "training.lr=1e-3")


@pytest.mark.parametrize("what", ["step", "test images"])
def test_run_warns_of_an_evaluation_that_is_not_finite_and_marks_the_run(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path, what: str
) -> None:
    options = (*quick, "tracking.enabled=true", *_data(tmp_path, what), "training.rounds=1")
    result = command("run", *options)
    assert result.code == 0
    first, last = (line for line in result.err.splitlines() if "eval/loss" in line)
    assert first.startswith("round 0: eval/loss is ")
    assert "in 1 of 1 round," in last
    assert "round 0 (eval/loss" in last
    (summary,) = storage.glob("*/summary.json")
    assert json.loads(summary.read_text())["num_not_finite"] == 1
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("sparsefleet").experiment_id])
    assert (run.info.status, run.data.metrics["num_not_finite"]) == ("FINISHED", 1.0)


def test_resume_warns_of_earlier_rounds_too(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    assert command("run", *quick, *_data(tmp_path, "test images"), "training.rounds=1").code == 0
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    result = command("resume", folder, "training.rounds=2")
    assert result.code == 0
    assert re.search(r"in 2 of 2 rounds, .*round 0 \(eval/loss", result.err, re.MULTILINE)
    assert json.loads((folder / "summary.json").read_text())["num_not_finite"] == 2


def test_finite_run_prints_no_warning(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    result = command("run", *quick, *_data(tmp_path, "nothing"))
    assert result.code == 0
    assert "finite" not in result.err
    (summary,) = storage.glob("*/summary.json")
    assert json.loads(summary.read_text())["num_not_finite"] == 0
