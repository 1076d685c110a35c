"""The built-in fleets by name, and the lookup of a fleet by name or file."""

from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.fleet import phones_and_edge
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.plugins.source_files import SourceFiles
from orchestrator.suggest import suggest

_MIB = 2**20


#: FedLPS's capability levels; speeds and bandwidths are those of its public code (arXiv 2412.07216), in MiB/s
_TIERS = tuple(
    DeviceProfile(
        name=f"tier-1-{divisor}",
        flops_per_s=744_448e6 / divisor,
        uplink_bytes_per_s=14.0 * _MIB,
        downlink_bytes_per_s=110.6 * _MIB,
        capability=1 / divisor,
    )
    for divisor in (1, 2, 4, 8, 16)
)


FLEETS: dict[str, Fleet] = {
    "uniform": Fleet(
        "uniform",
        "one kind of device: 10 GFLOP/s, 1 MB/s up, 5 MB/s down, 0.1 CPU reserved",
        (DeviceProfile(name="default", flops_per_s=10e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=5e6),),
    ),
    "five-tier": Fleet(
        "five-tier",
        "five kinds of devices in equal shares: 1, 1/2, 1/4, 1/8 and 1/16 of 744 GFLOP/s, and the same shares of a "
        "model; 14 MiB/s up, 110.6 MiB/s down (FedLPS)",
        _TIERS,
        (1.0,) * len(_TIERS),
    ),
    "phones-and-edge": Fleet(
        "phones-and-edge",
        "three kinds of phones, which train on their CPU and are available 8 hours a day; edge boards and boxes, "
        "which train on a part of a GPU",
        phones_and_edge.PROFILES,
        phones_and_edge.SHARES,
    ),
}


def get_fleet(name: str, sparse_efficiency: float | None = None) -> Fleet:
    """Return the built-in fleet of this name, or read the fleet from a file of this name.

    `sparse_efficiency` is that of every device (None: each profile has its own). Raises ConfigError for an unknown
    name, with the most similar name.
    """
    return _find_fleet(name).with_sparse_efficiency(sparse_efficiency)


def _find_fleet(name: str) -> Fleet:
    if name in FLEETS:
        return FLEETS[name]
    if _is_file(name):
        from orchestrator.fleet.fleet_file import read_fleet

        return read_fleet(name)
    remedy = suggest(name, FLEETS, f"choose one of {', '.join(FLEETS)}, or a fleet file")
    raise ConfigError("fleet.name", name, "there is no such fleet", remedy)


def fleet_sources(name: str) -> SourceFiles | None:
    """Return the files of a fleet that `get_fleet` has read; None for a built-in fleet."""
    if name in FLEETS or not _is_file(name):
        return None
    from orchestrator.fleet.fleet_file import read_files

    return read_files(name)


def _is_file(name: str) -> bool:
    return Path(name).suffix in (".yaml", ".yml", ".csv", ".parquet")
