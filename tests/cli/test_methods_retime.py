"""`retime`: the emulated time of a finished run on another fleet."""

import csv
import json
import re
from pathlib import Path

import pytest

from orchestrator.tracking.record import read_records
from tests.support.command import Command


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_retime_on_the_same_fleet_gives_the_same_times(
    command: Command, finished: Path, tmp_path: Path
) -> None:
    result = command("retime", finished, "--fleet", "uniform", "--out", tmp_path / "rounds.csv")
    assert (result.code, result.err) == (0, "")
    (total,) = [line for line in result.out.splitlines() if line.startswith(f"{finished.name}: ")]
    assert re.search(r": (.+) on uniform, \1 on uniform \(", total)
    assert "factor 1)" in total
    records, rows = read_records(finished / "metrics.jsonl"), rows_of(tmp_path / "rounds.csv")
    assert len(records) == len(rows) == 3
    for record, row in zip(records, rows, strict=True):
        assert int(row["round_idx"]) == record.round_idx
        assert float(row["accuracy"]) == record.metrics["eval/accuracy"]
        assert float(row["personal_accuracy"]) == record.metrics["personal/accuracy_mean"]
        assert float(row["emulated_s"]) == record.metrics["time/emulated_s"]
        assert float(row["retimed_s_total"]) == pytest.approx(
            record.metrics["time/emulated_s_total"], rel=0.0, abs=1e-9
        )


def test_retime_on_another_fleet_gives_the_time_of_a_run_there(
    command: Command, quick: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    options = ("training.rounds=3", "fleet.name=five-tier", "--summary", tmp_path / "summary.json")
    assert command("run", "-q", *quick, *options).code == 0
    expected_s = json.loads((tmp_path / "summary.json").read_text())["emulated_s_total"]
    result = command("retime", finished, "--fleet", "five-tier", "--out", tmp_path / "rounds.csv")
    assert (result.code, result.err) == (0, "")
    assert float(rows_of(tmp_path / "rounds.csv")[-1]["retimed_s_total"]) == pytest.approx(
        expected_s, rel=1e-9
    )
    redrawn = ("retime", finished, "--fleet", "five-tier", "--redraw", "--out", tmp_path / "redrawn.csv")
    assert command(*redrawn).code == 0
    assert rows_of(tmp_path / "redrawn.csv") != rows_of(tmp_path / "rounds.csv")


def test_retime_with_another_sparse_efficiency_gives_the_time_of_a_run_with_it(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    masked = ("training.rounds=3", "algorithm.name=randommask", "sparsity.level=0.8")
    times = {}
    for name, more in (("none", ()), ("half", ("fleet.sparse_efficiency=0.5",))):
        summary = tmp_path / f"{name}.json"
        assert command("run", "-q", *quick, *masked, *more, "--summary", summary).code == 0
        times[name] = json.loads(summary.read_text())
    run = storage / times["none"]["run_id"]
    out = tmp_path / "rounds.csv"
    result = command("retime", run, "--fleet", "uniform", "--sparse-efficiency", "0.5", "--out", out)
    assert (result.code, result.err) == (0, "")
    retimed_s = float(rows_of(out)[-1]["retimed_s_total"])
    assert retimed_s == pytest.approx(times["half"]["emulated_s_total"], rel=1e-9)
    assert retimed_s < times["none"]["emulated_s_total"]
    assert times["half"]["params_sha256"] == times["none"]["params_sha256"]


def test_retime_finds_a_run_by_its_id_and_does_not_change_it(command: Command, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    result = command("retime", finished.name, "--storage", finished.parent, "--fleet", "five-tier")
    assert (result.code, result.err) == (0, "")
    heading, *rounds, _, _ = result.out.splitlines()
    assert heading.split()[:3] == ["round_idx", "accuracy", "personal"]
    assert [line.split()[0] for line in rounds] == ["0", "1", "2"]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        ("retime nothing --fleet uniform --storage {tmp}/none", "RUN=nothing"),
        ("retime {run} --fleet uniforms", "--fleet=uniforms"),
        ("retime {run} --fleet {tmp}/none.yaml", "--fleet={tmp}/none.yaml"),
        ("retime {run} --fleet phones-and-edge --redraw", "--redraw=True"),
        ("retime {run} --fleet uniform --out {tmp}", "--out={tmp}"),
        ("retime {run} --fleet uniform --sparse-efficiency 1.5", "--sparse-efficiency=1.5"),
        ("retime {run} --fleet uniform --sparse-efficiency nan", "--sparse-efficiency=nan"),
    ],
)
def test_retime_rejects_an_invalid_request_in_one_line(
    arguments: str, field_and_value: str, command: Command, finished: Path, tmp_path: Path
) -> None:
    result = command(*arguments.replace("{run}", str(finished)).replace("{tmp}", str(tmp_path)).split())
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value.replace('{tmp}', str(tmp_path))}: ")


def test_retime_notes_that_devices_of_the_other_fleet_are_not_always_available(
    command: Command, finished: Path
) -> None:
    result = command("retime", finished, "--fleet", "phones-and-edge")
    assert (result.code, result.err) == (0, "")
    last = result.out.splitlines()[-1]
    assert "phones-and-edge" in last
    assert "phone-basic" in last


def test_retime_rejects_a_run_whose_devices_may_vanish(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    """Of two fleet files, the run on the fleet with `dropout` is rejected, and the run on the other is retimed."""
    speeds = "flops_per_s: 1e9, uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6"
    for name, more in (("steady", ""), ("leaving", ", dropout: 1e-9")):
        (tmp_path / f"{name}.yaml").write_text(f"profiles: [{{name: phone, {speeds}{more}}}]\n")
        assert (
            command("run", "-q", *quick, f"fleet.name={tmp_path / name}.yaml", f"seed={len(name)}").code == 0
        )
        for folder in storage.glob("fedavg-*"):
            folder.rename(storage / name)
    result = command("retime", storage / "leaving", "--fleet", "uniform")
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: fleet.name={tmp_path / 'leaving'}.yaml: ")
    assert "phone" in result.error_line
    retimed = command("retime", storage / "steady", "--fleet", tmp_path / "steady.yaml")
    assert (retimed.code, retimed.err) == (0, "")
    assert retimed.out.splitlines()[-1].endswith("on steady (factor 1).")


def test_retime_rejects_a_run_whose_result_depends_on_device_speed(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    assert command("run", "-q", *quick, "fleet.deadline_s=1000").code == 0
    (run,) = storage.glob("fedavg-*")
    result = command("retime", run, "--fleet", "five-tier")
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith("error: fleet.deadline_s=1000.0: ")


def test_retime_reports_inconsistent_logs_as_a_failure(command: Command, finished: Path) -> None:
    log = finished / "events.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:-1]))
    result = command("retime", finished, "--fleet", "five-tier")
    assert (result.code, result.out) == (1, "")
    assert re.search(r"\bround 0\b.*metrics\.jsonl", result.error_line)
