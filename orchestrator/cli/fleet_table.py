"""What `sparsefleet list fleets` shows: profiles, and what a population of them would reserve of this machine."""

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
from orchestrator.execution.placement import Capacity, place
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import FLEETS, get_fleet

#: the population that the listing reckons with, and how many of it a round takes
NUM_CLIENTS, COHORT = 100, 10
#: of a resource that only Ray knows: enough
_PLENTY = 1e6

_HEADINGS = (
    "\nprofile",
    "\nshare",
    "of a\nmodel",
    "\nGFLOP/s",
    "MB/s\nup",
    "MB/s\ndown",
    "GiB\nRAM",
    "\nthere",
    "\ndrops",
    "\nreserves",
)
_LEGEND = (
    "share: of the clients. of a model: how much of one the device holds (capability). there: share of the time in "
    "which it takes tasks. drops: tasks in which it vanishes. reserves: what an actor takes of Ray."
)


def fleet_tables(name: str | None = None, cluster: Capacity | None = None) -> RenderableType:
    """All built-in fleets, or the one of that name or file, against a cluster (None: this machine, without Ray).

    Raises ConfigError where there is no such fleet.
    """
    fleets = [*FLEETS.values()] if name is None else [get_fleet(name)]
    name_of, where = (
        ("This machine", Capacity((this_machine(),)))
        if cluster is None
        else (_cluster_name(cluster), cluster)
    )
    total = {resource: where.total(resource) for resource in ("CPU", "GPU", "memory")}
    parts = [part for fleet in fleets for part in _parts(fleet, where, known=cluster is not None)]
    return Group(Text(f"{name_of}: {amounts(total, keep_zero=True)}.\n"), *parts, Text(_LEGEND, style="dim"))


def _cluster_name(cluster: Capacity) -> str:
    return f"The cluster's {len(cluster.nodes)} nodes" if len(cluster.nodes) > 1 else "The cluster's one node"


def this_machine() -> dict[str, float]:
    """Cores, GPUs and bytes of memory, under Ray's names and without Ray; it leaves some memory to other uses."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count(), "memory": memory}


def reserved(population: Population) -> dict[str, float]:
    """What an actor for each client would reserve in all."""
    total: dict[str, float] = {}
    for index, count in population.profile_counts().items():
        for resource, amount in population.profiles[index].footprint().items():
            total[resource] = total.get(resource, 0.0) + count * amount
    return total


def _parts(fleet: Fleet, where: Capacity, *, known: bool) -> Sequence[RenderableType]:
    heading = Text.assemble((fleet.name, "bold"), f": {fleet.summary}" if fleet.summary else "")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in _HEADINGS:
        right = column not in ("\nprofile", "\nreserves")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for index, profile in enumerate(fleet.profiles):
        table.add_row(*_cells(fleet, index, profile))
    verdict = Text(_verdict(fleet.populate(NUM_CLIENTS, np.random.default_rng(0)), where, known=known))
    return heading, *(Padding(part, (0, 0, 0, 2), expand=False) for part in (table, verdict)), Text()


def _cells(fleet: Fleet, index: int, profile: DeviceProfile) -> Sequence[str]:
    share = fleet.shares[index] / sum(fleet.shares) if fleet.devices is None else 0.0
    speeds = np.array([[profile.flops_per_s, profile.uplink_bytes_per_s, profile.downlink_bytes_per_s]])
    about = ""
    if fleet.devices is not None:
        share = float(np.mean(fleet.devices.profile == index))
        if fleet.devices.speeds is not None and share:
            speeds, about = fleet.devices.speeds[fleet.devices.profile == index], "~"
    flops, up, down = np.median(speeds, axis=0)
    there = "trace" if fleet.devices is not None and fleet.devices.intervals is not None else None
    return (
        profile.name,
        _percent(share),
        _percent(profile.capability),
        about + _number(flops / 1e9),
        about + _number(up / 1e6),
        about + _number(down / 1e6),
        "-" if profile.memory_bytes is None else _number(profile.memory_bytes / 2**30),
        there or _percent(profile.available_share),
        _percent(profile.dropout),
        amounts(profile.footprint()),
    )


def _verdict(population: Population, where: Capacity, *, known: bool) -> str:
    """What the population reserves, and how a run would place it; `known`: of all resources, also custom ones."""
    wanted = reserved(population)
    if not known:
        (machine,) = where.nodes
        where = Capacity(({**machine, **dict.fromkeys(wanted.keys() - machine.keys(), _PLENTY)},))
    demand = f"{len(population)} clients with an actor each reserve {amounts(wanted)}."
    try:
        placement = place(RuntimeConfig(), where, population, COHORT)
    except ResourceError as error:
        return f"{demand} Not on Ray here: {error.problem}. runtime.executor=inprocess reserves nothing."
    return f"{demand} On Ray here: {placement.mode} actors, {placement.reason}."


def amounts(resources: Mapping[str, float], *, keep_zero: bool = False) -> str:
    """Resources by Ray's names as a phrase: `0.5 CPU, 1 GPU, 2 GiB of memory, on H200`; "nothing" for none."""
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
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
