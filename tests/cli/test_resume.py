"""Going on with a run from the command line: after its end, after an interrupt, and after damage."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import Command

#: sends SIGINT as often as the file `interrupt-<round>` beside it says, once
INTERRUPTED = '''
import signal
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Interrupted(Algorithm[ServerState, None]):
    """FedAvg, with someone at the keyboard."""

    def server_update(self, state, aggregate, round_idx):
        flag = Path(__file__).with_name(f"interrupt-{round_idx}")
        times = int(flag.read_text()) if flag.exists() else 0
        flag.unlink(missing_ok=True)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return super().server_update(state, aggregate, round_idx)
'''
#: cannot train in round 2 while the file `disk-is-full` lies beside it
FAILING = '''
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Failing(Algorithm[ServerState, None]):
    """FedAvg on a bad day."""

    def on_train_start(self, run):
        if run.task.round_idx == 2 and Path(__file__).with_name("disk-is-full").exists():
            raise OSError("no space left")
'''
#: finds out in round 2 that it cannot go on
REFUSING = '''
from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState


class Refusing(Algorithm[ServerState, None]):
    """FedAvg with little patience."""

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


def test_a_finished_run_stays_as_it_is(command: Command, finished: Path) -> None:
    before = _summary(finished)
    ended = command("resume", finished)
    assert ended.code == 0
    assert _summary(finished) == before
    assert _rounds(finished) == [0, 1, 2]
    assert finished.name in ended.out


def test_a_run_is_found_by_its_id_in_the_storage_folder(command: Command, finished: Path) -> None:
    ended = command("resume", "-q", finished.name, "--storage", finished.parent)
    assert (ended.code, ended.err) == (0, "")


def test_a_run_extended_is_the_longer_run(
    command: Command, quick: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    ended = command("resume", "-q", finished, "training.rounds=5", "--summary", tmp_path / "extended.json")
    assert (ended.code, ended.err) == (0, "")
    command("run", "-q", *quick, "training.rounds=5", "--summary", tmp_path / "at_once.json")
    extended, at_once = (
        json.loads((tmp_path / name).read_text()) for name in ("extended.json", "at_once.json")
    )
    for key in extended.keys() - {"run_id", "wall_s_total"}:
        assert extended[key] == at_once[key], key
    assert extended["num_rounds"] == 5
    assert _rounds(finished) == [0, 1, 2, 3, 4]
    assert yaml.safe_load((finished / "config.yaml").read_text())["training"]["rounds"] == 5


def test_the_progress_of_a_resumed_run_counts_on(command: Command, finished: Path) -> None:
    ended = command("resume", finished, "training.rounds=5")
    lines = [line for line in ended.err.splitlines() if ": round " in line]
    assert [line.split(": ")[1].split("  ")[0] for line in lines] == ["round 4/5", "round 5/5"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=1", "seed=1: the run has 0"),
        ("training.lr=0.1", "training.lr=0.1: the run has 0.05"),
        ("algorithm.name=fedprox", "algorithm.name=fedprox: the run has fedavg"),
        ("fleet.num_clients=5", "fleet.num_clients=5: the run has 4"),
        ("data.partition.alpha=1", "data.partition.alpha=1.0: the run has 0.5"),
        ("trainin.rounds=9", "did you mean 'training'?"),
        ("training.rounds=x", "training.rounds=x: input should be a valid integer"),
    ],
)
def test_a_change_of_the_past_is_refused(override: str, said: str, command: Command, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    ended = command("resume", "-q", finished, override)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "older pointer flipped": ("commits/round-000000.json", _flip),
    "events gone": ("events.jsonl", lambda data: b""),
    "description cut short": ("run.json", lambda data: data[:-10]),
    "description without fingerprints": ("run.json", lambda data: b"{}"),
    "description that is a list": ("run.json", lambda data: b"[]"),
    "config gone": ("config.yaml", lambda data: None),
    "config not YAML": ("config.yaml", lambda data: b"a: [1"),
    "config empty": ("config.yaml", lambda data: b""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_and_named(name: str, command: Command, finished: Path) -> None:
    file, damage = DAMAGE[name]
    path = finished / file
    damaged = damage(path.read_bytes())
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    ended = command("resume", "-q", finished, "training.rounds=4")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert str(path) in line
    assert "unexpected" not in line


@pytest.mark.parametrize("name", ["data", "partition", "model", "initial_parameters"])
def test_data_that_is_no_longer_the_same_is_refused_by_name(
    name: str, command: Command, finished: Path
) -> None:
    about = json.loads((finished / "run.json").read_text())
    assert name in about["fingerprint"]
    about["fingerprint"][name] = "0" * 64
    (finished / "run.json").write_text(json.dumps(about))
    ended = command("resume", "-q", finished, "training.rounds=4")
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {name} is not what the run {finished.name} was started with")


def test_another_torch_build_is_said_and_not_refused(command: Command, finished: Path) -> None:
    about = json.loads((finished / "run.json").read_text())
    about["machine"]["torch"] = "1.0.0"
    (finished / "run.json").write_text(json.dumps(about))
    ended = command("resume", finished, "training.rounds=4")
    assert ended.code == 0
    assert any(line.startswith("torch was 1.0.0 and is ") for line in ended.err.splitlines())


def test_a_run_may_be_resumed_from_another_folder(
    command: Command, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runtime.storage` was relative to the folder of the first command; nothing is made in the second."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    assert command("run", "-q", *quick, "runtime.storage=runs").code == 0
    (folder,) = (first / "runs").glob("fedavg-*")
    monkeypatch.chdir(second)
    ended = command("resume", "-q", folder, "training.rounds=3")
    assert (ended.code, ended.err) == (0, "")
    assert _rounds(folder) == [0, 1, 2]
    assert list(second.iterdir()) == []


def test_a_run_that_failed_goes_on_once_the_cause_is_gone(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    method, flag = tmp_path / "failing.py", tmp_path / "disk-is-full"
    method.write_text(FAILING)
    words = ("run", "-q", *quick, f"algorithm.name={method}:Failing", "training.rounds=4")
    assert command(*words).code == 0
    (undisturbed,) = storage.glob("failing-*")
    shutil.move(undisturbed, tmp_path / "undisturbed")
    flag.touch()
    ended = command(*words)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: client ")
    assert "round 2, train: OSError: no space left (tried 3 times)" in line
    (folder,) = storage.glob("failing-*")
    assert _rounds(folder) == [0, 1]
    flag.unlink()
    ended = command("resume", "-q", folder)
    assert (ended.code, ended.err) == (0, "")
    for key in ("params_sha256", "upload_bytes_total", "num_rounds", "accuracy"):
        assert _summary(folder)[key] == _summary(tmp_path / "undisturbed")[key]


def test_a_method_that_refuses_late_costs_no_finished_round(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    """What is refused before the first round leaves nothing behind; later there is a run to keep."""
    method = tmp_path / "refusing.py"
    method.write_text(REFUSING)
    ended = command("run", "-q", *quick, f"algorithm.name={method}:Refusing", "training.rounds=4")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: algorithm.patience=2: it is used up; be patient\n"
    (folder,) = storage.glob("refusing-*")
    assert _rounds(folder) == [0, 1]


class TestInterrupt:
    """Ctrl-C once ends after the round, twice at once; either way the run can go on."""

    @pytest.fixture
    def method(self, tmp_path: Path) -> Path:
        path = tmp_path / "interrupted.py"
        path.write_text(INTERRUPTED)
        return path

    @pytest.fixture
    def words(self, quick: tuple[str, ...], method: Path) -> tuple[str, ...]:
        return (*quick, f"algorithm.name={method}:Interrupted", "training.rounds=4")

    def test_once_ends_after_the_round_with_130(
        self, command: Command, words: tuple[str, ...], method: Path, storage: Path, tmp_path: Path
    ) -> None:
        assert command("run", "-q", *words).code == 0
        (undisturbed,) = storage.glob("interrupted-*")
        shutil.move(undisturbed, tmp_path / "undisturbed")

        method.with_name("interrupt-1").write_text("1")
        ended = command("run", "-q", *words, "--summary", tmp_path / "summary.json")
        (folder,) = storage.glob("interrupted-*")
        assert (ended.code, ended.out) == (130, "")
        assert ended.err.splitlines() == [f"stopped after 2 rounds; go on with: sparsefleet resume {folder}"]
        stopped = json.loads((tmp_path / "summary.json").read_text())
        assert (stopped["interrupted"], stopped["num_rounds"]) == (True, 2)
        assert stopped["accuracy"] is not None
        assert _rounds(folder) == [0, 1]

        ended = command("resume", "-q", folder)
        assert (ended.code, ended.err) == (0, "")
        after, expected = _summary(folder), _summary(tmp_path / "undisturbed")
        for key in after.keys() - {"run_id", "wall_s_total"}:
            assert after[key] == expected[key], key
        assert _rounds(folder) == [0, 1, 2, 3]

    def test_twice_ends_at_once_with_130(
        self, command: Command, words: tuple[str, ...], method: Path, storage: Path
    ) -> None:
        method.with_name("interrupt-2").write_text("2")
        ended = command("run", "-q", *words)
        (folder,) = storage.glob("interrupted-*")
        assert (ended.code, ended.out) == (130, "")
        assert "Traceback" not in ended.err
        assert "unexpected" not in ended.err
        assert _rounds(folder) == [0, 1]
        assert (command("resume", "-q", folder).code, _rounds(folder)) == (0, [0, 1, 2, 3])

    def test_the_handler_that_was_there_is_put_back(
        self, command: Command, words: tuple[str, ...], method: Path
    ) -> None:
        before = signal.getsignal(signal.SIGINT)
        method.with_name("interrupt-0").write_text("1")
        assert command("run", "-q", *words).code == 130
        assert signal.getsignal(signal.SIGINT) is before
