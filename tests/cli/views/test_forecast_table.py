"""The table of `run --dry-run`, and the command itself."""

import json
from pathlib import Path

from tests.support.command import Command


def test_dry_run_prints_the_costs_and_writes_no_run(
    command: Command, quick: tuple[str, ...], storage: Path, tmp_path: Path
) -> None:
    result = command("run", "--dry-run", *quick, "--summary", tmp_path / "s.json")
    assert result.code == 0, result.err
    assert not storage.exists()
    rows = [line.split() for line in result.out.splitlines()]
    assert ["upload", "546", "kB", "exact"] in rows, "four uploads of 34,110 float32 values and their headers"
    read = json.loads((tmp_path / "s.json").read_text())
    assert read["upload_bytes"] == 4 * 136_476
    ran = command("run", *quick, "--summary", tmp_path / "ran.json")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "ran.json").read_text())["upload_bytes_total"] == read["upload_bytes"]


def test_dry_run_says_why_numbers_are_not_exact(command: Command, quick: tuple[str, ...]) -> None:
    result = command("run", "--dry-run", *quick, "algorithm.name=feddst", "fleet.name=phones-and-edge")
    assert result.code == 0, result.err
    assert "Not exact: feddst" in result.out
    assert "runtime.address" not in result.out
    elsewhere = command("run", "--dry-run", *quick, "runtime.address=auto").out
    assert "not of runtime.address" in elsewhere
    assert "exact " not in result.out.replace("Not exact", "")
