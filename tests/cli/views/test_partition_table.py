"""`partition`: the table of each client's samples."""

import json
import re

from tests.support.command import Command


def test_partition_prints_a_row_for_each_client(command: Command) -> None:
    result = command(
        "partition", "fleet.num_clients=23", "training.clients_per_round=5", "data.partition.kind=shards"
    )
    assert (result.code, result.err) == (0, "")
    heading, *rows, caption = (line for line in result.out.splitlines() if line.strip())
    assert heading.split()[:4] == ["client", "train", "validation", "test"]
    assert [row.split()[0] for row in rows] == [str(k) for k in range(23)]
    num_images = 0
    for row in rows:
        _, train, validation, test, *class_counts = row.split()
        counts = [int(cell.partition(":")[2]) for cell in class_counts]
        assert sum(counts) == int(train) + int(validation)
        assert int(test) > 0
        num_images += sum(counts)
    assert num_images == 1438
    assert "digits, shards;" in caption
    assert re.search(r"fingerprint [0-9a-f]{16}\b", caption)


def test_partition_depends_on_the_seed(command: Command) -> None:
    tables = [command("partition", f"seed={seed}").out for seed in (1, 1, 2)]
    assert tables[0] == tables[1] != tables[2]


def test_json_has_the_columns_of_the_clients(command: Command) -> None:
    read = json.loads(command("partition", "fleet.num_clients=7", "--json").out)
    assert (read["data"], read["kind"]) == ("digits", "dirichlet")
    clients = read["clients"]
    assert clients["client_id"] == list(range(7))
    assert sum(clients["num_train"]) + sum(clients["num_validation"]) == 1438
    assert read["fingerprint"][:16] in command("partition", "fleet.num_clients=7").out
