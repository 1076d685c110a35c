"""Measure decoding and folding of sparse updates, and the wire coding: `python -m tests.benchmarks.wire`.

The first table has the CPU time of decoding and folding an update whose mask is its own, relative to a dense update of
the same model. The second table has the bytes of an update relative to 4 bytes for each value and the entropy of a
random mask, and the rates of packing with encoding and of decoding, in bytes of the dense model per second of CPU time.
Each repeat times the updates in turn, and the figures are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from math import log2

import numpy as np
import torch

from orchestrator.federation.aggregate import AGGREGATORS, Aggregator, Contribution
from orchestrator.federation.exchange import pack_model, unpack_model
from orchestrator.models.parameters import ParameterLayout, Segment
from orchestrator.sparsity.payload import Masked
from orchestrator.sparsity.wire import decode, encode, section_bytes

PARAMETERS = 11_200_000
FOLD_DENSITIES = (None, 0.5, 0.2, 0.1, 0.05, 0.01)
CODING_SIZES, CODING_DENSITIES = (PARAMETERS, 21_840), (0.95, 0.5, 0.2, 0.1, 0.05, 0.01)


def alternating(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each call, by name; the calls alternate. One unmeasured pass comes first."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, call in work.items():
            started = time.process_time()
            call()
            if repeat:
                times[name].append(time.process_time() - started)
    return times


def layout_of(num_parameters: int) -> ParameterLayout:
    """Return the layout of one maskable vector."""
    return ParameterLayout((Segment("weight", (num_parameters, 1), 0, "weight", True),))


def update_of(layout: ParameterLayout, density: float | None, seed: int = 0) -> np.ndarray:
    """Return an encoded update; None: a dense one."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.standard_normal(layout.size).astype(np.float32))
    mask = None if density is None else torch.from_numpy(rng.random(layout.size) < density)
    return np.frombuffer(encode((pack_model(layout, values, mask),)), np.uint8)


def receive(layout: ParameterLayout, buffer: np.ndarray, aggregator: Aggregator) -> None:
    """Decode and fold an update, as the driver does."""
    model = unpack_model(layout, decode(buffer))
    assert model is not None
    entries = model.entries
    is_full = entries is None
    aggregator.add(
        Contribution(
            client_id=0,
            weight=100.0,
            values=model.values if is_full else None,
            mask=model.mask if is_full else None,
            start=None,
            entries=entries,
        )
    )


def fold_table(repeats: int) -> list[str]:
    """Return the lines of the table of decoding and folding."""
    layout = layout_of(PARAMETERS)
    work: dict[str, Callable[[], object]] = {}
    for density in FOLD_DENSITIES:
        buffer, aggregator = update_of(layout, density), AGGREGATORS["covmean"]()
        work[str(density)] = lambda b=buffer, a=aggregator: receive(layout, b, a)
    times = alternating(work, repeats)
    dense = times[str(None)]
    lines = ["| density | decode and fold, ms | relative to dense |", "| --- | --- | --- |"]
    for density in FOLD_DENSITIES:
        own = times[str(density)]
        ratio = statistics.median(a / b for a, b in zip(own, dense, strict=True))
        label = "dense" if density is None else f"{density:g}, own mask"
        lines.append(f"| {label} | {1e3 * statistics.median(own):.1f} | {ratio:.2f} |")
    return lines


def entropy_bytes(num_parameters: int, num_kept: int) -> float:
    """Return the bytes of a random mask with this share of True entries, at least."""
    share = num_kept / num_parameters
    return -num_parameters / 8 * (share * log2(share) + (1 - share) * log2(1 - share))


def coding_table(num_parameters: int, repeats: int) -> list[str]:
    """Return the lines of the table of sizes and rates."""
    layout, rng = layout_of(num_parameters), np.random.default_rng(1)
    values = torch.from_numpy(rng.standard_normal(num_parameters).astype(np.float32))
    work: dict[str, Callable[[], object]] = {}
    ratios: dict[float, float] = {}
    for density in CODING_DENSITIES:
        mask = torch.from_numpy(rng.random(num_parameters) < density)
        buffer = encode((pack_model(layout, values, mask),))
        num_kept = int(mask.sum())
        ratios[density] = len(buffer) / (4 * num_kept + entropy_bytes(num_parameters, num_kept))
        work[f"encode {density}"] = lambda m=mask: encode((pack_model(layout, values, m),))
        work[f"decode {density}"] = lambda b=buffer: unpack_model(layout, decode(b))
    times = alternating(work, repeats)
    lines = [
        f"| {num_parameters:,} parameters, density | bytes / entropy | encode, MB/s | decode, MB/s |",
        "| --- | --- | --- | --- |",
    ]
    for density in CODING_DENSITIES:
        rates = [
            4e-6 * num_parameters / statistics.median(times[f"{step} {density}"])
            for step in ("encode", "decode")
        ]
        lines.append(f"| {density:g} | {ratios[density]:.4f} | {rates[0]:.0f} | {rates[1]:.0f} |")
    return lines


def moved_table(num_parameters: int) -> list[str]:
    """Return the lines of the table of masks of which a hundredth of the kept entries moved."""
    rng = np.random.default_rng(2)
    lines = ["| density, 1 % of the kept entries moved | bytes / entropy of the change |", "| --- | --- |"]
    for density in (0.5, 0.2, 0.1, 0.05, 0.01):
        known = rng.random(num_parameters) < density
        kept, others = np.flatnonzero(known), np.flatnonzero(~known)
        num_moved = kept.size // 100
        mask = known.copy()
        mask[rng.choice(kept, num_moved, replace=False)] = False
        mask[rng.choice(others, num_moved, replace=False)] = True
        item = Masked("theta", np.zeros(int(mask.sum()), np.float32), mask)
        (sections,) = section_bytes(encode((item,), known_masks={"theta": known}))
        entropy = entropy_bytes(kept.size, num_moved) + entropy_bytes(others.size, num_moved)
        lines.append(f"| {density:g} | {sections.mask_bytes / entropy:.3f} |")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(fold_table(arguments.repeats)))
    for size in CODING_SIZES:
        print()
        print("\n".join(coding_table(size, arguments.repeats)))
    print()
    print("\n".join(moved_table(PARAMETERS)))


if __name__ == "__main__":
    main()
