"""`list`: tables of algorithms, models, data sets, fleets and config keys."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.cli.views.listings import AGGREGATION_NAMES, LISTS
from orchestrator.config.errors import dotted_keys
from orchestrator.config.training import TrainingConfig
from orchestrator.data.registry import DATASETS
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from orchestrator.federation.aggregate import AggregationName
from orchestrator.fleet.registry import FLEETS
from orchestrator.models.registry import MODELS
from orchestrator.sweeping.space import space_names
from tests.support.command import Command


def _first_words(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines()[1:] if line.strip()]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("algorithms", [*algorithm_names()]),
        ("models", [*MODELS]),
        ("datasets", [*DATASETS]),
    ],
)
def test_list_names_every_entry(kind: str, names: list[str], command: Command) -> None:
    result = command("list", kind)
    assert (result.code, result.err) == (0, "")
    assert sorted(_first_words(result.out)) == sorted(names)
    assert all(len(line.split()) > 2 for line in result.out.splitlines())


def _fleet_rows(table: str) -> dict[str, tuple[str, str]]:
    """The cells of each profile's row by the profile's name: its eight numbers in one string, and its footprint."""
    lines = [line.split() for line in table.splitlines() if line.startswith("  ")]
    rows = [words for words in lines if len(words) > 9 and words[1].endswith("%")]
    return {words[0]: (" ".join(words[1:9]), " ".join(words[9:])) for words in rows}


def test_list_fleets_has_a_row_for_every_profile(command: Command) -> None:
    result = command("list", "fleets")
    assert (result.code, result.err) == (0, "")
    assert re.search(r": \d+ CPU, (no|\d+) GPU, [\d.]+ GiB ", result.out.splitlines()[0])
    headings = [line.split(": ")[0] for line in result.out.splitlines() if line.split(":")[0] in FLEETS]
    assert headings == [*FLEETS]
    rows = _fleet_rows(result.out)
    assert [*rows] == [profile.name for fleet in FLEETS.values() for profile in fleet.profiles]
    # 744.448 GFLOP/s / 8, 14 and 110.6 MiB/s
    assert rows["tier-1-8"] == ("20% 12.5% 93.1 14.7 116 - 100% 0%", "0.1 CPU")
    assert rows["phone-basic"] == ("35% 25% 11.2 0.621 1.61 2 33.3% 10%", "0.1 CPU")
    assert rows["edge-box"] == ("5% 100% 1,325 5.51 10.5 64 100% 0%", "0.5 CPU, 0.25 GPU")


def test_list_fleets_says_what_a_population_would_reserve(command: Command) -> None:
    """85 phones of 0.1 CPU, 10 boards of 0.25 CPU and 0.1 GPU, 5 boxes of 0.5 CPU and 0.25 GPU."""
    out = command("list", "fleets", "phones-and-edge").out
    assert "uniform" not in out
    (line,) = [line for line in out.splitlines() if "100 clients" in line]
    assert "13.5 CPU, 2.25 GPU" in line
    assert any(part in line for part in ("pooled actors", "dedicated actors", "edge-board needs 0.1 GPU"))


def test_list_fleets_accepts_a_fleet_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text(
        "client,profile,flops_per_s,uplink_bytes_per_s,downlink_bytes_per_s,available_from_s,available_until_s\n"
        "a,phone,1e9,1e6,2e6,0,10\nb,phone,3e9,2e6,4e6,0,10\nc,box,9e9,1e6,1e6,0,10\nd,box,9e9,1e6,1e6,0,10\n"
    )
    speeds = "flops_per_s: 1, uplink_bytes_per_s: 1, downlink_bytes_per_s: 1"
    (tmp_path / "street.yaml").write_text(
        "summary: of our street\ntrace: who.csv\nprofiles:\n"
        f"- {{name: phone, {speeds}, memory_bytes: 4294967296}}\n"
        f"- {{name: box, {speeds}, resources: {{npu: 1}}, accelerator_type: H200, ray_memory_bytes: 1073741824}}\n"
    )
    result = command("list", "fleets", tmp_path / "street.yaml")
    assert (result.code, result.err) == (0, "")
    assert "street: of our street" in result.out
    rows = _fleet_rows(result.out)
    assert rows["phone"] == ("50% 100% ~2 ~1.5 ~3 4 trace 0%", "0.1 CPU")
    numbers, footprint = rows["box"]
    assert numbers == "50% 100% ~9 ~1 ~1 - trace 0%"
    assert re.split(r",(?: on)? ", footprint) == ["0.1 CPU", "1 GiB of memory", "H200", "1 npu"]


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        (("fleets", "unifrom"), "fleet.name=unifrom"),
        (("fleets", "no.yaml"), "fleet.name=no.yaml"),
        (("models", "cnn"), "NAME=cnn"),
        (("models", "--address", "auto"), "--address=auto"),
    ],
)
def test_list_rejects_an_invalid_request(
    arguments: tuple[str, ...], field_and_value: str, command: Command
) -> None:
    result = command("list", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value}: ")


@pytest.mark.parametrize("columns", [80, 140])
def test_list_fleets_fits_a_terminal(columns: int, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table breaks no word: each profile has its name, numbers and footprint in one row."""
    monkeypatch.setenv("COLUMNS", str(columns))
    wrapped = command("list", "fleets").out
    assert max(len(line) for line in wrapped.splitlines()) <= columns
    monkeypatch.setenv("COLUMNS", "500")
    assert _fleet_rows(wrapped) == _fleet_rows(command("list", "fleets").out)


def test_every_average_has_a_long_name() -> None:
    assert AGGREGATION_NAMES.keys() == set(get_args(AggregationName))


def test_list_spaces_shows_the_dimensions_of_every_space(command: Command) -> None:
    result = command("list", "spaces")
    assert (result.code, result.err) == (0, "")
    assert {*_first_words(result.out)} >= {*space_names()}
    assert "sparsity.schedule.final_level" in result.out


def test_list_algorithms_has_average_sparsity_and_options(command: Command) -> None:
    lines = {line.split()[0]: line for line in command("list", "algorithms").out.splitlines()[1:]}
    cells = {name: re.split(" {2,}", line.strip())[-3:] for name, line in lines.items()}
    assert cells["fedavg"] == [f"{AGGREGATION_NAMES['wmean']} (wmean)", "dense", "-"]
    assert cells["fedprox"] == [f"{AGGREGATION_NAMES['wmean']} (wmean)", "dense", "mu"]
    assert cells["randommask"] == [f"{AGGREGATION_NAMES['covmean']} (covmean)", "0.8", "criterion"]
    average, level, options = cells["feddst"]
    assert (average, level) == (f"{AGGREGATION_NAMES['covmean']} (covmean)", "0.8")
    assert options.split(", ")[:3] == ["alpha", "readjust_every", "end_round"]


def test_list_keys_has_every_key_with_default_and_description(command: Command) -> None:
    result = command("list", "keys")
    found = _first_words(result.out)
    expected = [key for key in dotted_keys(ExperimentConfig) if key != "algorithm.name"]
    for name in algorithm_names():
        options = dotted_keys(load_algorithm(name).Config, "algorithm")
        expected += [key for key in options if key != "algorithm.name"]
    assert sorted(found) == sorted([*expected, "algorithm.name"])
    lines = {line.split()[0]: line for line in reversed(result.out.splitlines()[1:])}
    description = TrainingConfig.model_fields["lr"].description
    assert re.split(" {2,}", lines["training.lr"].strip()) == ["training.lr", "0.05", description]
    assert "Undefined" not in result.out
    for key, method in (("mu", "fedprox"), ("mu", "feddst"), ("alpha", "feddst")):
        rows = [line for line in result.out.splitlines() if line.startswith(f"algorithm.{key} ")]
        assert any(f" {method}: " in row for row in rows)


def test_list_keys_with_a_prefix_shows_choices_and_whole_keys(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = command("list", "keys", "data.partition.").out
    expected = [key for key in dotted_keys(ExperimentConfig) if key.startswith("data.partition.")]
    assert [word for word in out.split() if word.startswith("data.partition.")] == expected
    assert "shards" in out, "the choices of data.partition.kind"
    assert "(true, false)" in command("list", "keys", "training.with").out


def test_unknown_prefix_of_keys_is_rejected(command: Command) -> None:
    result = command("list", "keys", "trainin.lr")
    assert result.code == 2
    assert result.error_line.startswith("error: NAME=trainin.lr: ")
    assert "training.lr" in result.error_line


@pytest.mark.parametrize("what", LISTS)
def test_every_list_is_json(command: Command, what: str) -> None:
    rows = json.loads(command("list", what, "--json").out)
    assert len(rows) > 2
    assert all(isinstance(row, dict) for row in rows)


def test_json_of_a_fleet_has_its_profiles(command: Command) -> None:
    (row,) = json.loads(command("list", "fleets", "five-tier", "--json").out)
    assert row["fleet"] == "five-tier"
    assert [profile["name"] for profile in row["profiles"]] == [p.name for p in FLEETS["five-tier"].profiles]
    assert row["profiles"][0]["flops_per_s"] == FLEETS["five-tier"].profiles[0].flops_per_s
