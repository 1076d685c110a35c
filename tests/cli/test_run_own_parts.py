"""Runs with users' own data: records, resume after a change of the file, and methods with submodels."""

import json
from pathlib import Path

import pytest

from orchestrator.storage.run_store import RunStore
from tests.support.command import Command
from tests.support.new_process import forget_plugins

DATA = '''
import numpy as np


def blobs(classes=3, shift=2.0):
    """Three clouds of points in six dimensions, with four owners."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 240)
    x = rng.normal(size=(240, 6)) + shift * y[:, None]
    return {"x": x, "y": y, "client_ids": np.arange(240) // 60}
'''
QUICK = ("training.rounds=1", "fleet.num_clients=4", "training.clients_per_round=2", "tracking.enabled=false")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "mydata.py"
    file.write_text(DATA)
    return file


def _options(data: Path, tmp_path: Path, *more: str) -> tuple[str, ...]:
    name = f"data.name={data}:blobs"
    return (name, f"runtime.storage={tmp_path / 'runs'}", "runtime.executor=inprocess", *QUICK, *more)


def _run_folder(tmp_path: Path) -> Path:
    (folder,) = [path.parent for path in (tmp_path / "runs").glob("*/run.json")]
    return folder


@pytest.mark.parametrize("method", ["fedavg", "heterofl"])
def test_run_learns_from_own_vectors(command: Command, data: Path, tmp_path: Path, method: str) -> None:
    more = (f"algorithm.name={method}", "data.partition.kind=natural", "data.options.shift=4")
    assert command("run", *_options(data, tmp_path, *more)).code == 0
    folder = _run_folder(tmp_path)
    about = json.loads((folder / "run.json").read_text())
    assert about["sources"]["data"]["named"] == str(data)
    assert (folder / "sources" / "data" / "mydata.py").read_text() == DATA
    record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["metrics"]["eval/accuracy"] > 0.5


def test_resume_rejects_a_changed_file_and_other_data(command: Command, data: Path, tmp_path: Path) -> None:
    assert command("run", *_options(data, tmp_path)).code == 0
    folder = str(_run_folder(tmp_path))
    forget_plugins()
    data.write_text(DATA.replace("four owners", "4 owners"))
    changed = command("resume", folder, "training.rounds=2")
    assert changed.code == 2
    assert "data.name" in changed.err.splitlines()[-1]
    assert "mydata.py" in changed.err.splitlines()[-1]
    assert command("resume", folder, "training.rounds=2", "--accept-changed-code").code == 0
    forget_plugins()
    data.write_text(DATA.replace("shift=2.0", "shift=3.0"))
    other = command("resume", folder, "training.rounds=3", "--accept-changed-code")
    assert other.code != 0
    assert "data is not what the run" in other.err.splitlines()[-1]


def test_resume_uses_the_copy_of_a_deleted_file(command: Command, data: Path, tmp_path: Path) -> None:
    assert command("run", *_options(data, tmp_path)).code == 0
    forget_plugins()
    data.unlink()
    assert command("resume", str(_run_folder(tmp_path)), "training.rounds=2").code == 0


def test_own_partition_is_recorded_and_used(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "halves.py"
    file.write_text(
        "import numpy as np\n\n\ndef halves(dataset, num_clients, rng, turns=1):\n"
        "    return np.arange(len(dataset.train_labels)) * turns % num_clients\n"
    )
    more = (f"data.partition.kind={file}:halves", "data.partition.options.turns=3")
    arguments = (f"runtime.storage={tmp_path / 'runs'}", "runtime.executor=inprocess", *QUICK, *more)
    assert command("run", *arguments).code == 0
    folder = _run_folder(tmp_path)
    assert json.loads((folder / "run.json").read_text())["sources"]["partition"]["named"] == str(file)
    forget_plugins()
    file.write_text(file.read_text().replace("* turns", "* (turns + 2)"))
    changed = command("resume", str(folder), "training.rounds=2")
    assert "data.partition.kind" in changed.err.splitlines()[-1]


def test_schedule_of_torch_trains_like_the_same_decay_and_resumes(command: Command, tmp_path: Path) -> None:
    """A factor of 0.5 is exact in both forms, so all losses must be equal bit for bit."""
    schedule = ("training.lr_schedule.name=ExponentialLR", "training.lr_schedule.options.gamma=0.5")
    losses = []
    for name, more in (("decay", ("training.lr_decay=0.5",)), ("torch", schedule)):
        storage = tmp_path / name
        arguments = (f"runtime.storage={storage}", "runtime.executor=inprocess", *QUICK)
        assert command("run", *arguments, *more, "training.rounds=2").code == 0
        (folder,) = [path.parent for path in storage.glob("*/run.json")]
        assert command("resume", str(folder), "training.rounds=3").code == 0
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([record["metrics"]["train/loss"] for record in records])
        assert RunStore(folder).config()["training"]["rounds"] == 3
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


PARTS = (
    DATA
    + """

def turns(dataset, num_clients, rng):
    return rng.permutation(np.arange(len(dataset.train_labels)) % num_clients)


def mean_margin(labels, logits):
    return float(np.sort(logits, axis=1)[:, -1].mean())


def rate(round_idx, num_rounds, lr):
    return lr / (round_idx + 1)


def late(round_idx, num_rounds):
    return max(0.0, 2 * round_idx / num_rounds - 1)
"""
)


@pytest.mark.ray
def test_own_parts_give_the_same_result_on_ray(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "parts.py"
    file.write_text(PARTS)
    own = (
        f"data.name={file}:blobs",
        f"data.partition.kind={file}:turns",
        f"evaluation.metrics=[{file}:mean_margin, macro_f1]",
        f"training.lr_schedule.name={file}:rate",
        f"sparsity.schedule.kind={file}:late",
        "sparsity.schedule.final_level=0.9",
        "algorithm.name=feddst",
        "evaluation.finetune_epochs=1",
    )
    found = []
    for executor in ("inprocess", "ray"):
        storage = tmp_path / executor
        arguments = (f"runtime.storage={storage}", f"runtime.executor={executor}", *QUICK, *own)
        done = command("run", *arguments, "training.rounds=2")
        assert done.code == 0, done.err
        (log,) = storage.glob("*/metrics.jsonl")
        records = [json.loads(line)["metrics"] for line in log.read_text().splitlines()]
        found.append([{k: v for k, v in each.items() if not k.startswith("time/wa")} for each in records])
        about = json.loads((log.parent / "run.json").read_text())
        assert set(about["sources"]) == {"data", "partition", "lr_schedule", "schedule", "metric"}
    assert found[0] == found[1]
    assert {"eval/mean_margin", "eval/macro_f1"} <= found[0][-1].keys()
