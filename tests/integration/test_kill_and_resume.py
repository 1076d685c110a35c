"""A run whose processes are all killed, or that is interrupted, ends where the undisturbed run ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.tracking.progress import Progress
from orchestrator.tracking.record import read_records

MakeConfig = Callable[..., ExperimentConfig]
QUIET = Progress(quiet=True)
pytestmark = pytest.mark.ray


class Launched:
    """A `sparsefleet run` in a process group of its own, with a Ray of its own."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self.storage = config.runtime.storage
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config.to_dict()))
        command = [sys.executable, "-m", "orchestrator.cli", "run", "-c", str(file)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def wait_for(self, words: str) -> None:
        """Read what it prints until a line has the words."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} was never printed, only {''.join(seen)}")

    def rest(self) -> str:
        """What it still prints until it ends."""
        with self.process:
            assert self.process.stderr is not None
            return self.process.stderr.read()

    def run_folder(self) -> Path:
        """The one run in its storage."""
        (folder,) = [path for path in self.storage.iterdir() if (path / "run.json").is_file()]
        return folder


def descendants(pid: int) -> list[int]:
    """Every process below one, itself included, as /proc knows them now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


@pytest.fixture
def long_config(make_config: MakeConfig, tmp_path: Path) -> ExperimentConfig:
    """Long enough to be hit in the middle."""
    return make_config(
        "training.rounds=60",
        "training.eval_every=1",
        "runtime.pool_size=2",
        f"runtime.storage={tmp_path / 'a'}",
    )


@pytest.fixture
def undisturbed(long_config: ExperimentConfig, tmp_path: Path) -> str:
    """Digest of the parameters that the run ends with when nothing happens to it."""
    runtime = long_config.runtime.model_copy(update={"executor": "inprocess", "storage": tmp_path / "b"})
    return session.run(long_config.model_copy(update={"runtime": runtime}), QUIET).params_sha256


def test_killed_with_all_its_processes(
    long_config: ExperimentConfig, undisturbed: str, tmp_path: Path
) -> None:
    launched = Launched(long_config, tmp_path)
    launched.wait_for("round 13/60")
    for pid in descendants(launched.process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    launched.rest()
    folder = launched.run_folder()
    done = len(list((folder / "commits").glob("round-*.json")))
    assert 13 <= done < 60

    summary = session.resume(folder, ["runtime.executor=inprocess"], QUIET)

    assert summary.params_sha256 == undisturbed
    assert [r.round_idx for r in read_records(folder / "metrics.jsonl")] == list(range(60))


def test_interrupted_ends_cleanly_and_says_how_to_go_on(
    long_config: ExperimentConfig, undisturbed: str, tmp_path: Path
) -> None:
    launched = Launched(long_config, tmp_path)
    launched.wait_for("round 13/60")
    os.killpg(launched.process.pid, signal.SIGINT)
    said = launched.rest()
    folder = launched.run_folder()
    assert launched.process.returncode == 130
    assert f"sparsefleet resume {folder}" in said
    assert json.loads((folder / "summary.json").read_text())["interrupted"] is True

    summary = session.resume(folder, ["runtime.actors=pooled"], QUIET)

    assert summary.params_sha256 == undisturbed
    assert summary.interrupted is False
