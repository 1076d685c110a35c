"""`list` and `partition`: everything that can be named, and every client's part."""

import re

import pytest

from algorithms import algorithm_names, load_algorithm
from orchestrator.config import ExperimentConfig
from orchestrator.config_errors import dotted_keys
from orchestrator.data.registry import DATASETS
from orchestrator.fleet.profiles import FLEETS
from orchestrator.models.registry import MODELS
from tests.cli.command import Command


def _first_words(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines()[1:] if line.strip()]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("algorithms", [*algorithm_names()]),
        ("models", [*MODELS]),
        ("datasets", [*DATASETS]),
        ("fleets", [*FLEETS]),
    ],
)
def test_a_list_names_everything(kind: str, names: list[str], command: Command) -> None:
    ended = command("list", kind)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(_first_words(ended.out)) == sorted(names)
    assert all(len(line.split()) > 2 for line in ended.out.splitlines())


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
