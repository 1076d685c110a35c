"""The built-in fleets by name."""

from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.fleet import phones_and_edge
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.suggest import suggest

_MIB = 2**20


#: FedLPS's capability levels; speeds and bandwidths of its public code (arXiv 2412.07216), MiB/s as coded there.
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
        "equal shares of five speeds and capabilities, 1 to 1/16 of 744 GFLOP/s and of a model; 14 MiB/s up, "
        "110.6 MiB/s down (FedLPS)",
        _TIERS,
        (1.0,) * len(_TIERS),
    ),
    "phones-and-edge": Fleet(
        "phones-and-edge",
        "three classes of phones, on their CPU and for 8 hours a day; edge boards and boxes with a part of a GPU",
        phones_and_edge.PROFILES,
        phones_and_edge.SHARES,
    ),
}


def get_fleet(name: str) -> Fleet:
    """The built-in fleet of that name, or the one that a file describes; ConfigError with a near match otherwise."""
    if name in FLEETS:
        return FLEETS[name]
    if Path(name).suffix in (".yaml", ".yml", ".csv", ".parquet"):
        from orchestrator.fleet.fleet_file import read_fleet

        return read_fleet(Path(name))
    hint = suggest(name, FLEETS, f"choose one of {', '.join(FLEETS)}, or a fleet file")
    raise ConfigError("fleet.name", name, "there is no such fleet", hint)
