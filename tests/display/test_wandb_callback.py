"""The file of an offline run of Weights & Biases is read back."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from orchestrator import WandbCallback, run
from orchestrator.display.run_progress import Progress
from orchestrator.errors import RequestError
from orchestrator.experiment.loading import load_config
from tests.support.command import QUICK
from tests.support.wandb_files import records


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep W&B's settings, caches and messages out of the user's folders; W&B connects to no server."""
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()


def test_offline_run_has_the_metrics_the_config_and_the_summary(tmp_path: Path) -> None:
    config = load_config(None, [*QUICK, f"runtime.storage={tmp_path / 'runs'}", "training.rounds=3"])
    callback = WandbCallback("mine", name="first", mode="offline", dir=str(tmp_path))
    result = run(config, Progress(quiet=True), callbacks=[callback])
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    found = list(records(file))
    accuracies, summary, settings = {}, {}, {}
    for record in found:
        values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if "eval/accuracy" in values:
            accuracies[int(values["_step"])] = json.loads(values["eval/accuracy"])
        summary |= {item.key: item.value_json for item in record.summary.update}
        settings |= {item.key: item.value_json for item in record.config.update}
    assert accuracies == dict(result.to_dataframe()["eval/accuracy"])
    assert json.loads(summary["run_id"]) == result.run_id
    assert json.loads(summary["accuracy"]) == result.accuracy
    assert json.loads(settings["training"])["rounds"] == 3
    assert next(record.run.project for record in found if record.run.project) == "mine"


def test_missing_package_is_one_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RequestError, match="install it with `pip install wandb`"):
        WandbCallback()
