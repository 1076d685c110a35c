"""The inspecting commands: invalid requests are rejected before anything starts, and exit codes tell the result."""

from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        (["list", "nothing"], "WHAT=nothing"),
        (["ui", "--storage", "nowhere"], "--storage=nowhere"),
        (["partition", "fleet.num_clients=0"], "fleet.num_clients=0"),
    ],
)
def test_invalid_request_is_one_line_with_exit_code_2(
    command: Command, arguments: list[str], field_and_value: str
) -> None:
    result = command(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value}: ")


def test_partition_reads_a_config_file_and_overrides(command: Command, tmp_path: Path) -> None:
    """The file says 20 clients and seed 1; the command line changes the number of clients only."""
    (tmp_path / "e.yaml").write_text("seed: 1\nfleet: {num_clients: 20}\n")
    from_file = command("partition", "-c", tmp_path / "e.yaml", "fleet.num_clients=12")
    assert (from_file.code, from_file.err) == (0, "")
    assert from_file.out == command("partition", "seed=1", "fleet.num_clients=12").out
    assert from_file.out != command("partition", "seed=2", "fleet.num_clients=12").out


def test_partition_merges_config_files_in_order(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\nfleet: {num_clients: 20}\n")
    (tmp_path / "b.yaml").write_text("fleet: {num_clients: 12}\n")
    merged = command("partition", "-c", tmp_path / "a.yaml", "-c", tmp_path / "b.yaml")
    assert (merged.code, merged.err) == (0, "")
    assert merged.out == command("partition", "seed=1", "fleet.num_clients=12").out


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray", "own_ray_folder")
def test_doctor_exits_with_1_when_a_check_fails(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    result = command("doctor", "--storage", tmp_path / "runs")
    assert (result.code, result.err) == (1, "")
    (failed,) = [line for line in result.out.splitlines() if " failed " in line]
    assert failed.split()[0] == "storage"
