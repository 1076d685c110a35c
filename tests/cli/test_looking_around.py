"""`list` and `partition`: everything that can be named, and every client's part."""

import re
from pathlib import Path

import pytest

from algorithms import algorithm_names, load_algorithm
from orchestrator.config.errors import dotted_keys
from orchestrator.data.registry import DATASETS
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.fleet.registry import FLEETS
from orchestrator.models.registry import MODELS
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
def test_a_list_names_everything(kind: str, names: list[str], command: Command) -> None:
    ended = command("list", kind)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(_first_words(ended.out)) == sorted(names)
    assert all(len(line.split()) > 2 for line in ended.out.splitlines())


def _fleet_rows(table: str) -> dict[str, str]:
    """Each profile's row by its name, with one blank between words."""
    lines = [line.split() for line in table.splitlines() if line.startswith("  ")]
    return {words[0]: " ".join(words[1:]) for words in lines if len(words) > 8 and words[1].endswith("%")}


def test_the_list_of_fleets_has_every_profile(command: Command) -> None:
    ended = command("list", "fleets")
    assert (ended.code, ended.err) == (0, "")
    assert re.match(r"This machine: \d+ CPU, (no|\d+) GPU, [\d.]+ GiB of memory\.\n", ended.out)
    headings = [line.split(": ")[0] for line in ended.out.splitlines() if line.split(":")[0] in FLEETS]
    assert headings == [*FLEETS]
    rows = _fleet_rows(ended.out)
    assert [*rows] == [profile.name for fleet in FLEETS.values() for profile in fleet.profiles]
    # 744.448 GFLOP/s / 8, 14 and 110.6 MiB/s
    assert rows["tier-1-8"] == "20% 12.5% 93.1 14.7 116 - 100% 0% 0.1 CPU"
    assert rows["phone-basic"] == "35% 25% 11.2 0.621 1.61 2 33.3% 10% 0.1 CPU"
    assert rows["edge-box"] == "5% 100% 1,325 5.51 10.5 64 100% 0% 0.5 CPU, 0.25 GPU"


def test_the_list_of_fleets_says_what_a_population_would_take(command: Command) -> None:
    """85 phones at 0.1 CPU, 10 boards at 0.25 CPU and 0.1 GPU, 5 boxes at 0.5 CPU and 0.25 GPU."""
    out = command("list", "fleets", "phones-and-edge").out
    assert "uniform" not in out
    (line,) = [line for line in out.splitlines() if "100 clients" in line]
    assert "100 clients with an actor each reserve 13.5 CPU, 2.25 GPU. " in line
    assert re.search(
        r"On Ray here: (pooled|dedicated) actors, |Not on Ray here: profile edge-board needs 0.1 GPU", line
    )


def test_the_list_of_fleets_takes_a_file(command: Command, tmp_path: Path) -> None:
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
    ended = command("list", "fleets", tmp_path / "street.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert "street: of our street" in ended.out
    rows = _fleet_rows(ended.out)
    assert rows["phone"] == "50% 100% ~2 ~1.5 ~3 4 trace 0% 0.1 CPU"
    assert rows["box"] == "50% 100% ~9 ~1 ~1 - trace 0% 0.1 CPU, 1 GiB of memory, on H200, 1 npu"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("fleets", "unifrom"), "fleet.name=unifrom: there is no such fleet; did you mean 'uniform'?"),
        (("fleets", "no.yaml"), "fleet.name=no.yaml: there is no such file; name a YAML fleet or a trace"),
        (("models", "cnn"), "FLEET=cnn: only fleets are shown one by one; leave it out"),
        (("models", "--address", "auto"), "--address=auto: only fleets need a cluster; leave it out"),
    ],
)
def test_a_fleet_that_cannot_be_listed(words: tuple[str, ...], told: str, command: Command) -> None:
    ended = command("list", *words)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {told}\n")


@pytest.mark.parametrize("columns", [80, 140])
def test_the_list_of_fleets_is_readable_in_a_terminal(
    columns: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word is broken: every profile's name, number and footprint stands in one row."""
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = command("list", "fleets").out
    assert max(len(line) for line in narrow.splitlines()) <= columns
    monkeypatch.setenv("COLUMNS", "500")
    assert _fleet_rows(narrow) == _fleet_rows(command("list", "fleets").out)


def test_the_list_of_methods_says_how_each_averages_and_how_sparse_it_is(command: Command) -> None:
    lines = {line.split()[0]: line for line in command("list", "algorithms").out.splitlines()[1:]}
    assert re.search(r"\bwmean +dense +- *$", lines["fedavg"])
    assert re.search(r"\bwmean +dense +mu *$", lines["fedprox"])
    assert re.search(r"\bcovmean +0\.8 +criterion *$", lines["randommask"])
    assert re.search(r"\bcovmean +0\.8 +alpha, readjust_every, end_round, ", lines["feddst"])


def test_the_list_of_keys_has_every_key_with_default_and_meaning(command: Command) -> None:
    ended = command("list", "keys")
    found = _first_words(ended.out)
    expected = [key for key in dotted_keys(ExperimentConfig) if key != "algorithm.name"]
    for name in algorithm_names():
        options = dotted_keys(load_algorithm(name).Config, "algorithm")
        expected += [key for key in options if key != "algorithm.name"]
    assert sorted(found) == sorted([*expected, "algorithm.name"])
    lines = {line.split()[0]: line for line in reversed(ended.out.splitlines()[1:])}
    assert re.fullmatch(r"training\.lr +0\.05 +local learning rate in round 0 *", lines["training.lr"])
    assert "Undefined" not in ended.out
    for key, method in (("mu", "fedprox"), ("mu", "feddst"), ("alpha", "feddst")):
        rows = [line for line in ended.out.splitlines() if line.startswith(f"algorithm.{key} ")]
        assert any(f" {method}: " in row for row in rows)


def test_a_partition_shows_every_client(command: Command) -> None:
    ended = command(
        "partition", "fleet.num_clients=23", "training.clients_per_round=5", "data.partition.kind=shards"
    )
    assert (ended.code, ended.err) == (0, "")
    heading, *rows, caption = (line for line in ended.out.splitlines() if line.strip())
    assert heading.split()[:4] == ["client", "train", "validation", "test"]
    assert [row.split()[0] for row in rows] == [str(k) for k in range(23)]
    num_images = 0
    for row in rows:
        _, train, validation, test, *held = row.split()
        counts = [int(cell.partition(":")[2]) for cell in held]
        assert sum(counts) == int(train) + int(validation)
        assert int(test) > 0
        num_images += sum(counts)
    assert num_images == 1438
    assert re.search(r"digits, shards; fingerprint [0-9a-f]{16}", caption)


def test_a_partition_follows_the_seed(command: Command) -> None:
    tables = [command("partition", f"seed={seed}").out for seed in (1, 1, 2)]
    assert tables[0] == tables[1] != tables[2]
