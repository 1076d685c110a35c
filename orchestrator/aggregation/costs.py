"""Sums the costs of a round from its events: measured bytes, counted FLOPs, emulated seconds."""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.federation.client_event import ClientEvent

#: metrics that `add_totals` also sums over the run, under `<name>_total`
TOTALLED = (
    "comm/upload_bytes",
    "comm/download_bytes",
    "compute/train_flops",
    "compute/train_flops_dense",
    "time/emulated_s",
    "time/compute_s",
    "time/compute_ideal_s",
    "time/wall_s",
    "fleet/failures",
)


def round_costs(
    events: Sequence[ClientEvent], *, emulated_s: float, num_failures: int, wall_s: float
) -> dict[str, float]:
    """The round's metrics from the events of all its phases. `emulated_s` is the emulated duration of the round."""
    training = [e for e in events if e.kind == "train"]
    used = [e for e in training if e.outcome == "used"]
    outcomes = Counter(e.outcome for e in training)
    trained = [e for e in training if e.outcome != "vanished"]
    examples = sum(e.num_examples for e in trained)
    return {
        "comm/upload_bytes": sum(e.upload_bytes for e in events),
        "comm/download_bytes": sum(e.download_bytes for e in events),
        "compute/train_flops": sum(e.train_flops for e in events),
        "compute/train_flops_dense": sum(e.train_flops_dense for e in events),
        "time/emulated_s": emulated_s,
        "time/compute_s": sum(e.compute_s for e in events),
        "time/compute_ideal_s": sum(e.compute_ideal_s for e in events),
        "time/wall_s": wall_s,
        "train/loss": sum(e.train_loss * e.num_examples for e in trained) / max(1, examples),
        "fleet/participants": len(used),
        "fleet/failures": num_failures,
        "fleet/stragglers": outcomes["late"],
        "fleet/surplus": outcomes["surplus"],
        "fleet/vanished": outcomes["vanished"],
        "fleet/stale": outcomes["stale"],
        "fleet/staleness_mean": sum(e.staleness for e in used) / max(1, len(used)),
        "fleet/staleness_max": max((e.staleness for e in used), default=0),
    }


def phase_s(events: Sequence[ClientEvent]) -> float:
    """Emulated seconds of a phase that waits for all its clients: the time of the slowest client.

    A client that was sampled twice runs its tasks one after the other.
    """
    busy_s: dict[int, float] = {}
    for event in events:
        busy_s[event.client_id] = busy_s.get(event.client_id, 0.0) + event.total_s
    return max(busy_s.values(), default=0.0)


def add_totals(totals: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """Running totals after one more round."""
    return {f"{name}_total": totals.get(f"{name}_total", 0.0) + costs[name] for name in TOTALLED}
