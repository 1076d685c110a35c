"""The output of `run`: lines on standard error, the table of results, and the summary file."""

import json
import re
from pathlib import Path

import pytest

from tests.support.command import QUICK, Command

SUMMARY_KEYS = [
    "run_id",
    "algorithm",
    "num_rounds",
    "accuracy",
    "personal_accuracy",
    "upload_bytes_total",
    "download_bytes_total",
    "train_flops_total",
    "emulated_s_total",
    "wall_s_total",
    "params_sha256",
    "num_failures",
    "interrupted",
    "num_not_finite",
    "validation_accuracy",
    "validation_personal_accuracy",
    "unseen_accuracy",
    "unseen_personal_accuracy",
    "best_round",
    "best_accuracy",
    "best_personal_accuracy",
    "stop_reason",
]
#: weights of the perceptron on 8x8 images: layers of 64, 200, 100 and 10 units
WEIGHTS = 64 * 200 + 200 * 100 + 100 * 10
ENTRIES = WEIGHTS + 200 + 100 + 10
#: message header, item header, the name `theta` padded to 8 bytes, 4 bytes a value
MESSAGE_BYTES = 12 + 16 + 8 + 4 * ENTRIES


def _run_folder(storage: Path) -> Path:
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    return folder


def test_quiet_prints_nothing(command: Command, quick: tuple[str, ...], storage: Path) -> None:
    for flag in ("--quiet", "-q"):
        result = command("run", flag, *quick)
        assert (result.code, result.out, result.err) == (0, "", "")
    folder = next(storage.glob("fedavg-*"))
    result = command("resume", "-q", folder, "training.rounds=3")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_run_prints_one_plain_line_per_round_without_a_terminal(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    result = command("run", *quick, "training.rounds=3")
    run_id = _run_folder(storage).name
    start, tracking, length, *rounds = result.err.splitlines()
    assert tracking == "MLflow is off"
    assert start.startswith(f"{run_id}: in-process")
    assert length == f"{run_id}: 3 rounds"
    for number, line in enumerate(rounds, 1):
        pattern = (
            rf"{run_id}: round {number}/3  accuracy \d+\.\d\d ?%  up \d+ kB  [\d.:]+ ?s?(  [\d.:]+ ?s? left)?"
        )
        assert re.fullmatch(pattern, line), line
    assert len(rounds) == 3
    assert "\x1b" not in result.err + result.out
    assert "\r" not in result.err


def test_run_prints_no_line_for_rounds_without_evaluation(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    result = command("run", *quick, "training.rounds=5", "training.eval_every=2")
    assert re.findall(r"round (\d)/5", result.err) == ["2", "4", "5"]


@pytest.mark.parametrize("columns", ["80", "500"])
def test_run_ends_with_a_table_and_the_folder(
    columns: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    quick: tuple[str, ...],
    storage: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = command("run", *quick).out.splitlines()
    headings, row, *rest = (line for line in lines if line)
    assert {"accuracy", "personal", "upload", "download"} <= set(headings.split())
    assert row.split()[0] == "fedavg"
    assert "546 kB" in row
    assert any(line.endswith(str(_run_folder(storage))) for line in rest), "the folder is on one line"
    assert "MLflow UI" not in rest[-1], "tracking is off"


def test_tracked_run_prints_the_command_for_the_mlflow_ui(
    command: Command, quick: tuple[str, ...], tmp_path: Path
) -> None:
    storage = tmp_path / "my runs"
    result = command("run", *quick, "tracking.enabled=true", f"runtime.storage={storage}")
    assert result.out.splitlines()[-1].endswith(f"sparsefleet ui --storage '{storage}'")


class TestSummary:
    """The file that `--summary FILE` writes."""

    def test_summary_has_exactly_the_published_keys(
        self, command: Command, quick: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "result.json"
        assert command("run", "-q", *quick, "--summary", path).code == 0
        assert list(json.loads(path.read_text())) == SUMMARY_KEYS

    def test_summary_creates_missing_folders(
        self, command: Command, quick: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "not" / "yet" / "result.json"
        assert command("run", "-q", *quick, "--summary", path).code == 0
        assert json.loads(path.read_text())["num_rounds"] == 2

    def test_summary_agrees_with_the_logs_of_the_run(
        self, command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "result.json"
        command("run", "-q", *quick, "--summary", path)
        found, folder = json.loads(path.read_text()), _run_folder(storage)
        assert json.loads((folder / "summary.json").read_text()) == found
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        last = records[-1]["metrics"]
        assert (found["run_id"], found["algorithm"], found["num_rounds"]) == (folder.name, "fedavg", 2)
        assert found["accuracy"] == last["eval/accuracy"]
        assert found["personal_accuracy"] == last["personal/accuracy_mean"]
        assert found["upload_bytes_total"] == found["download_bytes_total"] == 4 * MESSAGE_BYTES
        images = sum(event["num_examples"] for event in events)
        assert found["train_flops_total"] == 3 * 2 * WEIGHTS * images
        assert (found["num_failures"], found["interrupted"]) == (0, False)
        assert len(events) == 4
        assert re.fullmatch("[0-9a-f]{64}", found["params_sha256"])

    def test_same_seed_gives_the_same_summary(
        self, command: Command, quick: tuple[str, ...], tmp_path: Path
    ) -> None:
        found = []
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            command("run", "-q", *quick, f"seed={seed}", "--summary", tmp_path / name)
            found.append(json.loads((tmp_path / name).read_text()))
        timing = ("run_id", "wall_s_total")
        first, second, other = ({k: v for k, v in one.items() if k not in timing} for one in found)
        assert first == second
        assert other["params_sha256"] != first["params_sha256"]
        assert found[0]["run_id"] != found[1]["run_id"]


def test_run_can_be_repeated_from_its_own_config(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    command("run", "-q", *quick, "training.lr=1e-2", "algorithm.name=fedprox")
    folder = _run_folder(storage)
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "run.json",
        "commits",
        "metrics.jsonl",
        "events.jsonl",
        "partition.parquet",
        "model",
        "summary.json",
    }
    again = command("run", "-q", "-c", folder / "config.yaml", f"runtime.storage={storage}/again")
    assert (again.code, again.err) == (0, "")
    first, second = (json.loads(path.read_text()) for path in storage.rglob("summary.json"))
    assert first["params_sha256"] == second["params_sha256"]


def test_default_storage_folder_is_runs_in_the_current_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("run", *QUICK)
    assert result.code == 0
    assert "fedavg: runs/fedavg-" in result.out
    assert len(list((tmp_path / "runs").glob("fedavg-*/summary.json"))) == 1


def test_tilde_in_runtime_storage_is_the_home_folder(
    command: Command, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell does not expand a tilde after `runtime.storage=`, so the config must."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert command("run", "-q", *quick, "runtime.storage=~/runs").code == 0
    assert len(list((home / "runs").glob("fedavg-*/summary.json"))) == 1
