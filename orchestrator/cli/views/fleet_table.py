"""What `sparsefleet list fleets` prints: device profiles, and the resources that a population of them reserves."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.execution.packing import ACCELERATOR_TYPE
from orchestrator.execution.placement import Capacity, place_clients
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import FLEETS, get_fleet

#: number of clients and cohort size for which the listing computes the placement
NUM_CLIENTS, COHORT = 100, 10
#: assumed amount of a resource that only Ray knows
_PLENTY = 1e6

_HEADINGS = (
    "\nprofile",
    "\nshare",
    "of a\nmodel",
    "\nGFLOP/s",
    "MB/s\nup",
    "MB/s\ndown",
    "GiB\nRAM",
    "\navail.",
    "\ndrops",
    "\nreserves",
)
_LEGEND = (
    "share: of the clients. of a model: the share of a model that the device can train (capability). avail.: "
    "share of the time in which the device takes tasks. drops: share of tasks in which the device vanishes. reserves: "
    "the resources that an actor reserves from Ray."
)


def fleet_tables(name: str | None = None, cluster: Capacity | None = None) -> RenderableType:
    """Return all built-in fleets, or one fleet by name or file, with their placement on a Ray cluster.

    When `cluster` is None, the placement is computed for this machine, without starting Ray.
    Raises ConfigError for an unknown fleet.
    """
    fleets = [*FLEETS.values()] if name is None else [get_fleet(name)]
    place_name, capacity = (
        ("This machine", Capacity((this_machine(),)))
        if cluster is None
        else (_cluster_name(cluster), cluster)
    )
    total = {resource: capacity.total(resource) for resource in ("CPU", "GPU", "memory")}
    parts = [part for fleet in fleets for part in _parts(fleet, capacity, is_complete=cluster is not None)]
    return Group(
        Text(f"{place_name}: {amounts(total, keep_zero=True)}.\n"), *parts, Text(_LEGEND, style="dim")
    )


def _cluster_name(cluster: Capacity) -> str:
    return f"The cluster's {len(cluster.nodes)} nodes" if len(cluster.nodes) > 1 else "The cluster's one node"


def this_machine() -> dict[str, float]:
    """Return this machine's cores, GPUs and bytes of memory under Ray's resource names, without starting Ray.

    Ray itself would offer less memory to actors.
    """
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count(), "memory": memory}


def reserved(population: Population) -> dict[str, float]:
    """Return the total resources that one actor for each client would reserve."""
    total: dict[str, float] = {}
    for index, count in population.profile_counts().items():
        for resource, amount in population.profiles[index].footprint().items():
            total[resource] = total.get(resource, 0.0) + count * amount
    return total


def _parts(fleet: Fleet, capacity: Capacity, *, is_complete: bool) -> Sequence[RenderableType]:
    heading = Text.assemble((fleet.name, "bold"), f": {fleet.summary}" if fleet.summary else "")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in _HEADINGS:
        right = column not in ("\nprofile", "\nreserves")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for index, profile in enumerate(fleet.profiles):
        table.add_row(*_cells(fleet, index, profile))
    population = fleet.populate(NUM_CLIENTS, np.random.default_rng(0))
    placement = Text(_placement(population, capacity, is_complete=is_complete))
    return heading, *(Padding(part, (0, 0, 0, 2), expand=False) for part in (table, placement)), Text()


def _cells(fleet: Fleet, index: int, profile: DeviceProfile) -> Sequence[str]:
    share = fleet.shares[index] / sum(fleet.shares) if fleet.devices is None else 0.0
    speeds = np.array([[profile.flops_per_s, profile.uplink_bytes_per_s, profile.downlink_bytes_per_s]])
    approximate = ""
    if fleet.devices is not None:
        share = float(np.mean(fleet.devices.profile == index))
        if fleet.devices.speeds is not None and share:
            speeds, approximate = fleet.devices.speeds[fleet.devices.profile == index], "~"
    flops, up, down = np.median(speeds, axis=0)
    available = "trace" if fleet.devices is not None and fleet.devices.intervals is not None else None
    return (
        profile.name,
        _percent(share),
        _percent(profile.capability),
        approximate + _number(flops / 1e9),
        approximate + _number(up / 1e6),
        approximate + _number(down / 1e6),
        "-" if profile.memory_bytes is None else _number(profile.memory_bytes / 2**30),
        available or _percent(profile.available_share),
        _percent(profile.dropout),
        amounts(profile.footprint()),
    )


def _placement(population: Population, capacity: Capacity, *, is_complete: bool) -> str:
    """Say what the population reserves, and how a run would place it.

    When `capacity` is not complete, it lacks custom resources; the function then assumes that they suffice.
    """
    wanted = reserved(population)
    if not is_complete:
        (machine,) = capacity.nodes
        capacity = Capacity(({**machine, **dict.fromkeys(wanted.keys() - machine.keys(), _PLENTY)},))
    demand = f"{len(population)} clients with one actor each reserve {amounts(wanted)}."
    try:
        placement = place_clients(RuntimeConfig(), capacity, population, COHORT)
    except ResourceError as error:
        return f"{demand} Ray cannot place them here: {error.problem}. runtime.executor=inprocess reserves nothing."
    return f"{demand} Ray would place them here on {placement.mode} actors: {placement.reason}."


def amounts(resources: Mapping[str, float], *, keep_zero: bool = False) -> str:
    """Format resources by Ray's names: `0.5 CPU, 1 GPU, 2 GiB of memory, on H200`; "nothing" when there are none."""
    phrases = []
    for name, amount in resources.items():
        if name.startswith(ACCELERATOR_TYPE):
            phrases.append(f"on {name.removeprefix(ACCELERATOR_TYPE)}")
        elif name == "memory":
            phrases.append(f"{amount / 2**30:.3g} GiB of memory")
        elif amount or keep_zero:
            phrases.append(f"{amount:.4g} {name}" if amount else f"no {name}")
    return ", ".join(phrases) or "nothing"


def _number(value: float) -> str:
    """Format with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
