"""`retime`: a finished run's time on another fleet, from the command line."""

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


def test_on_its_own_fleet_nothing_changes(command: Command, finished: Path, tmp_path: Path) -> None:
    ended = command("retime", finished, "--fleet", "uniform", "--out", tmp_path / "rounds.csv")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(
        rf"^{finished.name}: (.+) on uniform, \1 on uniform, 1 times as long\.$", ended.out, re.MULTILINE
    )
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


def test_on_another_fleet_it_is_what_a_run_over_there_takes(
    command: Command, quick: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    over_there = ("training.rounds=3", "fleet.name=five-tier", "--summary", tmp_path / "summary.json")
    assert command("run", "-q", *quick, *over_there).code == 0
    expected_s = json.loads((tmp_path / "summary.json").read_text())["emulated_s_total"]
    ended = command("retime", finished, "--fleet", "five-tier", "--out", tmp_path / "rounds.csv")
    assert (ended.code, ended.err) == (0, "")
    assert float(rows_of(tmp_path / "rounds.csv")[-1]["retimed_s_total"]) == pytest.approx(
        expected_s, rel=1e-9
    )
    redrawn = ("retime", finished, "--fleet", "five-tier", "--redraw", "--out", tmp_path / "redrawn.csv")
    assert command(*redrawn).code == 0
    assert rows_of(tmp_path / "redrawn.csv") != rows_of(tmp_path / "rounds.csv")


def test_a_run_is_found_by_its_id_and_is_left_as_it_is(command: Command, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    ended = command("retime", finished.name, "--storage", finished.parent, "--fleet", "five-tier")
    assert (ended.code, ended.err) == (0, "")
    heading, *rounds, _, _ = ended.out.splitlines()
    assert heading.split()[:3] == ["round_idx", "accuracy", "personal"]
    assert [line.split()[0] for line in rounds] == ["0", "1", "2"]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("retime nothing --fleet uniform --storage {tmp}/none", ("RUN=nothing", "no such run")),
        ("retime {run} --fleet uniforms", ("--fleet=uniforms", "did you mean 'uniform'?")),
        ("retime {run} --fleet {tmp}/none.yaml", ("--fleet={tmp}/none.yaml", "there is no such file")),
        (
            "retime {run} --fleet phones-and-edge --redraw",
            ("--redraw=True", "there only at times", "say --no-redraw"),
        ),
        ("retime {run} --fleet uniform --out {tmp}", ("--out=", "cannot be written", "name a file that can")),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    words: str, says: tuple[str, ...], command: Command, finished: Path, tmp_path: Path
) -> None:
    ended = command(*words.replace("{run}", str(finished)).replace("{tmp}", str(tmp_path)).split())
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert all(said.replace("{tmp}", str(tmp_path)) in line for said in says), line


def test_devices_that_come_and_go_over_there_are_taken_to_be_there(command: Command, finished: Path) -> None:
    ended = command("retime", finished, "--fleet", "phones-and-edge")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == (
        "Devices of phones-and-edge are taken to be there for every task, although devices phone-basic are there only "
        "at times."
    )


def test_a_run_on_devices_that_come_and_go_is_refused(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    """A fleet from a file, whose devices rarely vanish; a file without that is taken, also as the other fleet."""
    speeds = "flops_per_s: 1e9, uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6"
    for name, more in (("steady", ""), ("leaving", ", dropout: 1e-9")):
        (tmp_path / f"{name}.yaml").write_text(f"profiles: [{{name: phone, {speeds}{more}}}]\n")
        assert (
            command("run", "-q", *quick, f"fleet.name={tmp_path / name}.yaml", f"seed={len(name)}").code == 0
        )
        for folder in storage.glob("fedavg-*"):
            folder.rename(storage / name)
    ended = command("retime", storage / "leaving", "--fleet", "uniform")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        f"error: fleet.name={tmp_path / 'leaving'}.yaml: devices phone may vanish in a task"
    )
    there = command("retime", storage / "steady", "--fleet", tmp_path / "steady.yaml")
    assert (there.code, there.err) == (0, "")
    assert there.out.splitlines()[-1].endswith("on steady, 1 times as long.")


def test_a_run_that_would_have_been_another_one_is_refused(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    assert command("run", "-q", *quick, "fleet.deadline_s=1000").code == 0
    (run,) = storage.glob("fedavg-*")
    ended = command("retime", run, "--fleet", "five-tier")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: fleet.deadline_s=1000.0: only updates that are fast enough count, so that the run cannot be retimed; "
        "run the experiment itself on the other fleet\n"
    )


def test_logs_that_contradict_one_another_are_no_wrong_request(command: Command, finished: Path) -> None:
    log = finished / "events.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:-1]))
    ended = command("retime", finished, "--fleet", "five-tier")
    assert (ended.code, ended.out) == (1, "")
    assert re.fullmatch(r"error: the events of round \d come to .* the run cannot be retimed.*\n", ended.err)


def test_the_help_has_an_example(command: Command) -> None:
    ended = command("retime", "--help")
    assert ended.code == 0
    assert "sparsefleet retime RUN --fleet five-tier" in ended.out
