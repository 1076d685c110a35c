"""Fleets on a Ray cluster; test_listings.py tests fleets on this machine."""

import io
import re

from rich.console import Console

from orchestrator.cli.views.fleet_table import fleet_tables
from orchestrator.execution.placement import Capacity

GIB = 2**30


def _shown(cluster: Capacity, fleet: str) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(fleet_tables(fleet, cluster))
    return file.getvalue()


def test_fleet_tables_add_the_nodes_of_a_cluster() -> None:
    """100 clients of 0.1 CPU need 10 CPU and 43 GiB; each of the two nodes has 64 CPU and 100 GiB."""
    node = {"CPU": 64.0, "GPU": 4.0, "memory": 100.0 * GIB}
    text = _shown(Capacity((node, node)), "uniform")
    assert "2 nodes: 128 CPU, 8 GPU, 200 GiB" in text
    assert "reserve 10 CPU. " in text
    assert "dedicated actors" in text


def test_fleet_tables_name_a_missing_resource() -> None:
    text = _shown(Capacity(({"CPU": 64.0, "memory": 100.0 * GIB},)), "phones-and-edge")
    assert "one node: 64 CPU, no GPU, 100 GiB" in text
    assert re.search(r"edge-board needs 0\.1 GPU.* has 0\b", text)
