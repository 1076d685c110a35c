"""`resume` of finished, interrupted, failed and damaged runs."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import Command

#: sends SIGINT as many times as the file `interrupt-<round>` in its folder says, then deletes the file
INTERRUPTED = '''
import signal
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Interrupted(Algorithm[ServerState, None]):
    """FedAvg that interrupts its own process."""

    def server_update(self, state, aggregate, round_idx):
        flag = Path(__file__).with_name(f"interrupt-{round_idx}")
        times = int(flag.read_text()) if flag.exists() else 0
        flag.unlink(missing_ok=True)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return super().server_update(state, aggregate, round_idx)
'''
#: cannot train in round 2 while its folder contains the file `disk-is-full`
FAILING = '''
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Failing(Algorithm[ServerState, None]):
    """FedAvg whose training fails in round 2."""

    def on_train_start(self, run):
        if run.task.round_idx == 2 and Path(__file__).with_name("disk-is-full").exists():
            raise OSError("no space left")
'''
#: rejects its options in round 2
REJECTING = '''
from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState


class Rejecting(Algorithm[ServerState, None]):
    """FedAvg that rejects its options late."""

    def server_update(self, state, aggregate, round_idx):
        if round_idx == 2:
            raise ConfigError("algorithm.patience", round_idx, "it is used up", "be patient")
        return super().server_update(state, aggregate, round_idx)
'''


def _summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def _rounds(folder: Path) -> list[int]:
    return [json.loads(line)["round_idx"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_resume_does_not_change_a_finished_run(command: Command, finished: Path) -> None:
    before = _summary(finished)
    result = command("resume", finished)
    assert result.code == 0
    assert _summary(finished) == before
    assert _rounds(finished) == [0, 1, 2]
    assert finished.name in result.out


def test_resume_finds_a_run_by_its_id(command: Command, finished: Path) -> None:
    result = command("resume", "-q", finished.name, "--storage", finished.parent)
    assert (result.code, result.err) == (0, "")


def test_extended_run_equals_one_longer_run(
    command: Command, quick: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    result = command("resume", "-q", finished, "training.rounds=5", "--summary", tmp_path / "extended.json")
    assert (result.code, result.err) == (0, "")
    command("run", "-q", *quick, "training.rounds=5", "--summary", tmp_path / "at_once.json")
    extended, at_once = (
        json.loads((tmp_path / name).read_text()) for name in ("extended.json", "at_once.json")
    )
    for key in extended.keys() - {"run_id", "wall_s_total"}:
        assert extended[key] == at_once[key], key
    assert extended["num_rounds"] == 5
    assert _rounds(finished) == [0, 1, 2, 3, 4]
    assert yaml.safe_load((finished / "config.yaml").read_text())["training"]["rounds"] == 5


def test_progress_of_a_resumed_run_continues_its_round_numbers(command: Command, finished: Path) -> None:
    result = command("resume", finished, "training.rounds=5")
    lines = [line for line in result.err.splitlines() if ": round " in line]
    assert [line.split(": ")[1].split("  ")[0] for line in lines] == ["round 4/5", "round 5/5"]


@pytest.mark.parametrize(
    ("override", "field_and_value", "token"),
    [
        ("seed=1", "seed=1", "0"),
        ("training.lr=0.1", "training.lr=0.1", "0.05"),
        ("algorithm.name=fedprox", "algorithm.name=fedprox", "fedavg"),
        ("fleet.num_clients=5", "fleet.num_clients=5", "4"),
        ("data.partition.alpha=1", "data.partition.alpha=1.0", "0.5"),
        ("trainin.rounds=9", "trainin={'rounds': 9}", "training"),
        ("training.rounds=x", "training.rounds=x", "integer"),
    ],
)
def test_resume_rejects_a_changed_config_and_leaves_the_run_unchanged(
    override: str, field_and_value: str, token: str, command: Command, finished: Path
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    result = command("resume", "-q", finished, override)
    assert (result.code, result.out) == (2, "")
    start = f"error: {field_and_value}: "
    assert result.error_line.startswith(start)
    assert token in re.split(r"[\s,;?']+", result.error_line.removeprefix(start))
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl", "failures.jsonl"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_resume_repairs_a_log_that_was_emptied_or_truncated(
    name: str, keep: float, command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    """Most tasks fail once, so that each log has lines in most rounds."""
    faulty = (*quick, "chaos.client_raises=0.7", "training.rounds=4")
    assert command("run", "-q", *faulty).code == 0
    (folder,) = storage.iterdir()
    undisturbed = Path(shutil.copytree(folder, storage.parent / "undisturbed"))
    log, whole = folder / name, (folder / name).read_bytes()
    assert whole.count(b"\n") >= 3
    log.write_bytes(whole[: int(keep * len(whole))])
    result = command("resume", folder, "training.rounds=5")
    assert result.code == 0
    assert name in result.err
    assert b"\0" not in log.read_bytes()
    lines = log.read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)
    assert _rounds(folder) == [0, 1, 2, 3, 4]
    assert command("resume", "-q", undisturbed, "training.rounds=5").code == 0
    for key in ("params_sha256", "num_rounds", "upload_bytes_total", "num_failures"):
        assert _summary(folder)[key] == _summary(undisturbed)[key], key
    if name == "events.jsonl":  # the table has all events
        assert log.read_bytes() == (undisturbed / name).read_bytes()


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "older pointer flipped": ("commits/round-000000.json", _flip),
    "description cut short": ("run.json", lambda data: data[:-10]),
    "description without fingerprints": ("run.json", lambda data: b"{}"),
    "description that is a list": ("run.json", lambda data: b"[]"),
    "config gone": ("config.yaml", lambda data: None),
    "config not YAML": ("config.yaml", lambda data: b"a: [1"),
    "config empty": ("config.yaml", lambda data: b""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_resume_reports_a_damaged_file_by_its_path(name: str, command: Command, finished: Path) -> None:
    file, damage = DAMAGES[name]
    path = finished / file
    damaged = damage(path.read_bytes())
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    result = command("resume", "-q", finished, "training.rounds=4")
    assert (result.code, result.out) == (1, "")
    assert str(path) in result.error_line
    assert "unexpected" not in result.error_line


@pytest.mark.parametrize("name", ["data", "partition", "model", "initial_parameters"])
def test_resume_rejects_a_changed_fingerprint_by_its_name(
    name: str, command: Command, finished: Path
) -> None:
    about = json.loads((finished / "run.json").read_text())
    assert name in about["fingerprint"]
    about["fingerprint"][name] = "0" * 64
    (finished / "run.json").write_text(json.dumps(about))
    result = command("resume", "-q", finished, "training.rounds=4")
    assert result.code == 1
    assert result.error_line.startswith(f"error: {name} ")
    assert finished.name in result.error_line


def test_resume_notes_another_torch_version(command: Command, finished: Path) -> None:
    about = json.loads((finished / "run.json").read_text())
    about["machine"]["torch"] = "1.0.0"
    (finished / "run.json").write_text(json.dumps(about))
    result = command("resume", finished, "training.rounds=4")
    assert result.code == 0
    assert any({"torch", "1.0.0"} <= set(line.split()) for line in result.err.splitlines())


def test_resume_works_from_another_current_folder(
    command: Command, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runtime.storage` was relative to the first current folder. `resume` writes nothing to the second folder."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    assert command("run", "-q", *quick, "runtime.storage=runs").code == 0
    (folder,) = (first / "runs").glob("fedavg-*")
    monkeypatch.chdir(second)
    result = command("resume", "-q", folder, "training.rounds=3")
    assert (result.code, result.err) == (0, "")
    assert _rounds(folder) == [0, 1, 2]
    assert list(second.iterdir()) == []


def test_resume_continues_a_failed_run_when_the_cause_is_removed(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    method, flag = tmp_path / "failing.py", tmp_path / "disk-is-full"
    method.write_text(FAILING)
    arguments = ("run", "-q", *quick, f"algorithm.name={method}:Failing", "training.rounds=4")
    assert command(*arguments).code == 0
    (undisturbed,) = storage.glob("failing-*")
    shutil.move(undisturbed, tmp_path / "undisturbed")
    flag.touch()
    result = command(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.error_line.startswith("error: client ")
    assert "round 2, train: OSError: no space left" in result.error_line
    assert "3 times" in result.error_line
    (folder,) = storage.glob("failing-*")
    assert _rounds(folder) == [0, 1]
    flag.unlink()
    result = command("resume", "-q", folder)
    assert (result.code, result.err) == (0, "")
    for key in ("params_sha256", "upload_bytes_total", "num_rounds", "accuracy"):
        assert _summary(folder)[key] == _summary(tmp_path / "undisturbed")[key]


def test_method_that_rejects_its_options_late_keeps_the_finished_rounds(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    """An invalid request leaves no folder before the first round; after a round, the run is kept."""
    method = tmp_path / "rejecting.py"
    method.write_text(REJECTING)
    result = command("run", "-q", *quick, f"algorithm.name={method}:Rejecting", "training.rounds=4")
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith("error: algorithm.patience=2: ")
    (folder,) = storage.glob("rejecting-*")
    assert _rounds(folder) == [0, 1]


class TestInterrupt:
    """One Ctrl-C ends the run after the round, two end it at once; `resume` continues the run in both cases."""

    @pytest.fixture
    def method(self, tmp_path: Path) -> Path:
        path = tmp_path / "interrupted.py"
        path.write_text(INTERRUPTED)
        return path

    @pytest.fixture
    def arguments(self, quick: tuple[str, ...], method: Path) -> tuple[str, ...]:
        return (*quick, f"algorithm.name={method}:Interrupted", "training.rounds=4")

    def test_one_interrupt_ends_the_run_after_the_round_with_130(
        self, command: Command, arguments: tuple[str, ...], method: Path, storage: Path, tmp_path: Path
    ) -> None:
        assert command("run", "-q", *arguments).code == 0
        (undisturbed,) = storage.glob("interrupted-*")
        shutil.move(undisturbed, tmp_path / "undisturbed")

        method.with_name("interrupt-1").write_text("1")
        result = command("run", "-q", *arguments, "--summary", tmp_path / "summary.json")
        (folder,) = storage.glob("interrupted-*")
        assert (result.code, result.out) == (130, "")
        (line,) = result.err.splitlines()
        assert line.endswith(f"sparsefleet resume {folder}")
        stopped = json.loads((tmp_path / "summary.json").read_text())
        assert (stopped["interrupted"], stopped["num_rounds"]) == (True, 2)
        assert stopped["accuracy"] is not None
        assert _rounds(folder) == [0, 1]

        result = command("resume", "-q", folder)
        assert (result.code, result.err) == (0, "")
        after, expected = _summary(folder), _summary(tmp_path / "undisturbed")
        for key in after.keys() - {"run_id", "wall_s_total"}:
            assert after[key] == expected[key], key
        assert _rounds(folder) == [0, 1, 2, 3]

    def test_two_interrupts_end_the_run_at_once_with_130(
        self, command: Command, arguments: tuple[str, ...], method: Path, storage: Path
    ) -> None:
        method.with_name("interrupt-2").write_text("2")
        result = command("run", "-q", *arguments)
        (folder,) = storage.glob("interrupted-*")
        assert (result.code, result.out) == (130, "")
        assert "Traceback" not in result.err
        assert "unexpected" not in result.err
        assert _rounds(folder) == [0, 1]
        assert (command("resume", "-q", folder).code, _rounds(folder)) == (0, [0, 1, 2, 3])

    def test_previous_signal_handler_is_restored(
        self, command: Command, arguments: tuple[str, ...], method: Path
    ) -> None:
        before = signal.getsignal(signal.SIGINT)
        method.with_name("interrupt-0").write_text("1")
        assert command("run", "-q", *arguments).code == 130
        assert signal.getsignal(signal.SIGINT) is before
