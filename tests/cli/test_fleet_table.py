"""Fleets against a cluster; against this machine see tests/cli/test_looking_around.py."""

import io

from rich.console import Console

from orchestrator.cli.fleet_table import fleet_tables
from orchestrator.execution.placement import Capacity

GIB = 2**30


def _shown(cluster: Capacity, fleet: str) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(fleet_tables(fleet, cluster))
    return file.getvalue()


def test_a_cluster_is_summed_over_its_nodes_and_holds_what_one_machine_would_not() -> None:
    """100 clients of 0.1 CPU: 10 CPU on two nodes of 64, whose 43 GiB for actors are there."""
    node = {"CPU": 64.0, "GPU": 4.0, "memory": 100.0 * GIB}
    text = _shown(Capacity((node, node)), "uniform")
    assert "The cluster's 2 nodes: 128 CPU, 8 GPU, 200 GiB of memory." in text
    assert "100 clients with an actor each reserve 10 CPU. On Ray here: dedicated actors" in text


def test_what_a_cluster_lacks_is_named() -> None:
    text = _shown(Capacity(({"CPU": 64.0, "memory": 100.0 * GIB},)), "phones-and-edge")
    assert "The cluster's one node: 64 CPU, no GPU, 100 GiB of memory." in text
    assert "Not on Ray here: profile edge-board needs 0.1 GPU, the largest node has 0" in text
