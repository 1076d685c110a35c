"""What a run says: to a person, to a log, and to a script."""

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
]
#: the perceptron on 8x8 images: 64-200-100-10
WEIGHTS = 64 * 200 + 200 * 100 + 100 * 10
ENTRIES = WEIGHTS + 200 + 100 + 10
#: message header, item header, the name `theta` padded to 8 bytes, 4 bytes a value
MESSAGE_BYTES = 12 + 16 + 8 + 4 * ENTRIES


def _run_folder(storage: Path) -> Path:
    (folder,) = (path.parent for path in storage.glob("*/run.json"))
    return folder


def test_quiet_prints_nothing(command: Command, quick: tuple[str, ...], storage: Path) -> None:
    for words in (("run", "--quiet", *quick), ("run", "-q", *quick)):
        ended = command(*words)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    folder = next(storage.glob("fedavg-*"))
    ended = command("resume", "-q", folder, "training.rounds=3")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_log_gets_one_plain_line_a_round(command: Command, quick: tuple[str, ...], storage: Path) -> None:
    ended = command("run", *quick, "training.rounds=3")
    run_id = _run_folder(storage).name
    start, length, *rounds, last = ended.err.splitlines()
    assert start == f"{run_id}: in-process, one client after another"
    assert length == f"{run_id}: 3 rounds"
    for number, line in enumerate(rounds, 1):
        pattern = (
            rf"{run_id}: round {number}/3  accuracy \d+\.\d\d ?%  up \d+ kB  [\d.:]+ ?s?(  [\d.:]+ ?s? left)?"
        )
        assert re.fullmatch(pattern, line), line
    assert len(rounds) == 3
    assert last == "MLflow is off"
    assert "\x1b" not in ended.err + ended.out
    assert "\r" not in ended.err


def test_rounds_without_an_evaluation_have_no_line(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    ended = command("run", *quick, "training.rounds=5", "training.eval_every=2")
    assert re.findall(r"round (\d)/5", ended.err) == ["2", "4", "5"]


@pytest.mark.parametrize("columns", ["80", "500"])
def test_the_end_is_a_table_and_where_to_look(
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
    assert any(line.endswith(str(_run_folder(storage))) for line in rest), "the folder can be copied"
    assert "MLflow UI" not in rest[-1], "nothing was tracked"


def test_what_is_tracked_can_be_opened(command: Command, quick: tuple[str, ...], tmp_path: Path) -> None:
    storage = tmp_path / "my runs"
    ended = command("run", *quick, "tracking.enabled=true", f"runtime.storage={storage}")
    assert ended.out.splitlines()[-1] == f"Open in the MLflow UI: sparsefleet ui --storage '{storage}'"


class TestSummary:
    """`--summary FILE`, which scripts read."""

    def test_it_has_exactly_the_published_keys(
        self, command: Command, quick: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "result.json"
        assert command("run", "-q", *quick, "--summary", path).code == 0
        assert list(json.loads(path.read_text())) == SUMMARY_KEYS

    def test_it_may_lie_in_folders_that_do_not_exist_yet(
        self, command: Command, quick: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "not" / "yet" / "result.json"
        assert command("run", "-q", *quick, "--summary", path).code == 0
        assert json.loads(path.read_text())["num_rounds"] == 2

    def test_its_numbers_are_those_of_the_run(
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

    def test_the_same_seed_gives_the_same_summary(
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


def test_a_run_keeps_its_config_and_its_table(
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


def test_without_a_storage_folder_runs_are_kept_in_the_working_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("run", *QUICK)
    assert ended.code == 0
    assert "fedavg: runs/fedavg-" in ended.out
    assert len(list((tmp_path / "runs").glob("fedavg-*/summary.json"))) == 1


def test_a_tilde_is_the_home_folder(
    command: Command, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell does not expand it after `runtime.storage=`."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert command("run", "-q", *quick, "runtime.storage=~/runs").code == 0
    assert len(list((home / "runs").glob("fedavg-*/summary.json"))) == 1
