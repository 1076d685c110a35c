"""Command lines with unusual values: every option and argument at its limits, and paths that cannot be used.

Every command ends with one line on standard error that names the option or key and its value. Standard output stays
empty. No error of a library reaches the user as `unexpected`, and no training starts.
"""

import ctypes
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from tests.support.command import QUICK, Command

#: the smallest run, which no command of this file starts
Q = shlex.join(QUICK)
#: command line -> start of the error line; `-` means that the parser rejects the arguments before the command starts
REJECTED = {
    # config files and presets
    f"run {Q} -c missing.yaml": "--config=missing.yaml",
    f"run {Q} -c good.yaml -c missing.yaml": "--config=missing.yaml",
    f"run {Q} -c good.yaml -c folder": "--config=folder",
    f"run {Q} -c bad.yaml -c good.yaml": "--config=bad.yaml",
    f"run {Q} -c preset:feddst": "--config=preset:feddst",
    f"run {Q} -c preset:": "--config=preset:",
    f"run {Q} -c dotted.yaml": "training.rounds=7",
    "sweep smoke -c good.yaml -c bad.yaml": "--config=bad.yaml",
    "partition -c missing.yaml": "--config=missing.yaml",
    "check feddst -c bad.yaml": "--config=bad.yaml",
    "submit run runtime.storage=/x -c good.yaml -c missing.yaml": "--config=missing.yaml",
    # results
    f"run {Q} --summary folder": "--summary=folder",
    f"run {Q} --summary file/x.json": "--summary=file/x.json",
    "resume missing --summary folder": "--summary=folder",
    "sweep smoke --summary file/x.json": "--summary=file/x.json",
    "compare --storage runs --out file": "--out=file",
    "compare --storage runs --out file/x": "--out=file/x",
    "compare --storage runs --out -": "--out=-",
    "retime runs/r-1 --fleet five-tier --out folder": "--out=folder",
    "retime runs/r-1 --fleet five-tier --out file/x.csv": "--out=file/x.csv",
    # folders
    f"run {Q} runtime.storage=file": "runtime.storage=file",
    f"run {Q} runtime.storage=file/x": "runtime.storage=file/x",
    f"run {Q} runtime.storage=/dev/null": "runtime.storage=/dev/null",
    "demo --storage file": "runtime.storage=file",
    "sweep smoke --storage file": "runtime.storage=file",
    "resume missing": "RUN=missing",
    "resume file --storage folder": "RUN=file",
    "sweep missing --resume": "SWEEP=missing",
    "sweep folder --resume --storage file": "SWEEP=folder",
    "sweep file": "SPACE=file",
    "sweep missing.py": "SPACE=missing.py",
    "compare --storage file": "runtime.storage=file",
    "compare --storage missing": "runtime.storage=missing",
    "compare missing --storage runs": "RUN=missing",
    "compare --storage runs --sweep missing": "--sweep=missing",
    "retime missing --fleet five-tier": "RUN=missing",
    "retime runs/r-1 --fleet missing": "--fleet=missing",
    "ui --storage folder": "--storage=folder",
    "list fleets folder": "fleet.name=folder",
    "submit --working-dir file run runtime.storage=/x": "--working-dir=file",
    # numbers
    f"run {Q} training.rounds=0": "training.rounds=0",
    f"run {Q} training.rounds=1.5": "training.rounds=1.5",
    f"run {Q} training.lr=nan": "training.lr=nan",
    f"run {Q} training.lr=1e400": "training.lr=1e400",
    f"run {Q} seed=-1": "seed=-1",
    f"run {Q} seed={2**63}": f"seed={2**63}",
    f"run {Q} fleet.num_clients={10**12}": f"fleet.num_clients={10**12}",
    "sweep smoke --seeds 0": "--seeds=0",
    "sweep smoke --seeds x": "-",
    "sweep smoke --max-concurrent -1": "--max-concurrent=-1",
    "sweep feddst --num-samples 0": "--num-samples=0",
    "sweep smoke --grace-rounds 0 --scheduler asha": "--grace-rounds=0",
    "sweep smoke --grace-rounds 50 --scheduler asha training.rounds=2": "--grace-rounds=50",
    "sweep feddst --perturb-rounds 500 --scheduler pbt": "--perturb-rounds=500",
    "sweep smoke --objective accuracy_at_upload=-5": "--objective=accuracy_at_upload=-5",
    "sweep smoke training.rounds=[]": "training.rounds=[]",
    "sweep smoke training.rounds=[1,x]": "training.rounds=x",
    "compare --storage runs --at-upload -1": "--at-upload=-1.0",
    "compare --storage runs --to-accuracy nan": "--to-accuracy=nan",
    "stop r-1 --timeout -1": "-",
    "ui --storage runs --port 65536": "-",
    "check feddst training.rounds=0": "training.rounds=0",
    # wrong types and names
    f"run {Q} training=5": "training=5",
    f"run {Q} algorithm=feddst": "algorithm=feddst",
    f"run {Q} training.rounds.x=5": "training.rounds.x=5",
    f"run {Q} =5": "KEY=VALUE==5",
    f"run {Q} model.init=folder": "model.init=folder",
    f"run {Q} data.name=npz data.root=file": "data.root=file",
    "sweep smoke --search bogus": "--search=bogus",
    "compare --storage runs --format bogus": "--format=bogus",
    "list bogus": "WHAT=bogus",
    "check missing.py:X": "algorithm.name=missing.py:X",
    "submit": "COMMAND=-",
    "submit ui": "COMMAND=ui",
    "submit run --bogus": "-",
    "submit run runtime.storage=/x --env": "-",
    # addresses
    f"run {Q} runtime.executor=ray runtime.address=nonsense": "runtime.address=nonsense",
    "sweep smoke runtime.address=nonsense": "runtime.address=nonsense",
    "list fleets --address nonsense": "runtime.address=nonsense",
    "list keys --address auto": "--address=auto",
    "status --address nonsense": "--address=nonsense",
    "status --address http://": "--address=http://",
    "stop missing --address http://127.0.0.1:1": "RUN=missing",
    "submit --address http://127.0.0.1:1 run runtime.storage=/x": "--address=http://127.0.0.1:1",
    "submit --address nonsense run runtime.storage=/x": "--address=nonsense",
}
#: command lines whose error is in the machine and not in the request
FAILED = ("runtime.address=", "--address=nonsense", "--address=http://")
#: what a user may not read or write: `locked` is closed, and `readonly` cannot be written
FORBIDDEN = {
    f"run {Q} runtime.storage=readonly": "runtime.storage=readonly",
    f"run {Q} runtime.storage=locked/x": "runtime.storage=locked/x",
    f"run {Q} -c locked/x.yaml": "--config=locked/x.yaml",
    f"run {Q} --summary readonly/x.json": "--summary=readonly/x.json",
    f"run {Q} data.name=imagefolder data.root=locked": "locked: Permission denied",
    f"run {Q} algorithm.name=locked/x.py:F": "locked/x.py: Permission denied",
    f"run {Q} tracking.enabled=true tracking.uri=sqlite:///readonly/m.db": "tracking.uri=sqlite:///",
    f"run {Q} tracking.enabled=true tracking.uri=sqlite:///readonly.db": "readonly.db is not writable",
    f"run {Q} tracking.enabled=true tracking.uri=sqlite:///locked/x/m.db": "tracking.uri=sqlite:///",
    "resume locked/x": "locked/x/run.json: Permission denied",
    "sweep locked/x.py": "locked/x.py: Permission denied",
}
_DROP_FROM_BOUNDING_SET, _OVERRIDES = 24, (1, 2)


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which contains files, folders and a finished run `runs/r-1`."""
    finished.rename(finished.with_name("r-1"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "good.yaml").write_text("training: {rounds: 1}\n")
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "dotted.yaml").write_text("training.rounds: 7\n")
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    # a command in its own process has no connection; an earlier test may have connected this process to Ray
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return tmp_path


@pytest.mark.parametrize("line", REJECTED)
def test_unusual_value_is_one_line_that_names_it(line: str, folder: Path, command: Command) -> None:
    result = command(*shlex.split(line))
    assert "unexpected" not in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    start = REJECTED[line]
    assert result.code == (1 if start.startswith(FAILED) else 2)
    if start != "-":
        assert result.error_line.startswith(f"error: {start}: ")
    assert [run.name for run in (folder / "runs").iterdir()] == ["r-1"]


def test_summary_takes_standard_output_alone(command: Command, quick: tuple[str, ...], storage: Path) -> None:
    result = command("run", *quick, "training.rounds=1", "--summary", "-")
    assert result.code == 0
    summary = json.loads(result.out)
    assert str(storage / summary["run_id"]) in result.err
    resumed = command("resume", storage / summary["run_id"], "training.rounds=2", "--summary", "-", "-q")
    assert json.loads(resumed.out)["num_rounds"] == 2


def test_times_of_retime_take_standard_output_alone(command: Command, finished: Path) -> None:
    result = command("retime", finished, "--fleet", "five-tier", "--out", "-")
    heading, *rows = result.out.splitlines()
    assert heading.startswith("round_idx,")
    assert [row.partition(",")[0] for row in rows] == ["0", "1", "2"]
    assert finished.name in result.err


def test_later_config_files_take_precedence(command: Command, quick: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 3\ntraining: {lr: 0.5, weight_decay: 0.25}\n")
    (tmp_path / "b.yaml").write_text("training: {lr: 0.125}\n")
    files = ("-c", tmp_path / "a.yaml", "--config", tmp_path / "b.yaml")
    result = command("run", *files, *quick, "training.rounds=1", "--summary", "-", "-q")
    run = tmp_path / "runs" / json.loads(result.out)["run_id"]
    stored = (run / "config.yaml").read_text()
    assert all(text in stored for text in ("seed: 3", "lr: 0.125", "weight_decay: 0.25", "rounds: 1"))


def _without_root() -> None:
    """Let the permissions of files apply to this process also if root runs the tests."""
    if os.geteuid() == 0:
        for capability in _OVERRIDES:
            ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


@pytest.mark.parametrize("line", FORBIDDEN)
def test_path_without_permission_is_one_line(line: str, tmp_path: Path) -> None:
    locked, readonly = tmp_path / "locked", tmp_path / "readonly"
    locked.mkdir(mode=0o000)
    readonly.mkdir(mode=0o500)
    (tmp_path / "readonly.db").touch(0o400)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *shlex.split(line)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "500"},
        preexec_fn=_without_root,
        check=False,
    )
    assert done.returncode in (1, 2)
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert "unexpected" not in error
    assert FORBIDDEN[line] in error
