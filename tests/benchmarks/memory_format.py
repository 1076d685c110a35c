"""Compare the training step of each built-in model in both memory formats: `python -m tests.benchmarks.memory_format`.

One thread, forward and backward pass of a batch. The formats alternate, and the time is the thread's CPU time. Prints
the medians, their ratio and the format that `model.memory_format=auto` chooses.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.models.memory_format import MemoryFormat
from orchestrator.models.parameters import FlatModule
from orchestrator.models.registry import MODELS, resolve_builder

NUM_CLASSES, TARGET_S = 10, 0.15
FORMATS: Sequence[MemoryFormat] = get_args(MemoryFormat)


def step_ms(flat: FlatModule, inputs: Tensor, labels: Tensor, num_steps: int) -> float:
    """Return the CPU milliseconds of one step."""
    started = time.thread_time()
    for _ in range(num_steps):
        flat.grad.zero_()
        cross_entropy(flat(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return 1e3 * (time.thread_time() - started) / num_steps


def compare(name: str, batch: int, repeats: int) -> str:
    """Return the line of a model."""
    shape = (1, 28, 28) if name.endswith("mnist") else (3, 32, 32)
    flats = {f: FlatModule(resolve_builder(name)(shape, NUM_CLASSES), memory_format=f) for f in FORMATS}
    inputs, labels = torch.randn(batch, *shape), torch.randint(0, NUM_CLASSES, (batch,))
    warm = [step_ms(flat, inputs, labels, 2) for flat in flats.values()]
    num_steps = max(1, round(TARGET_S * 1e3 / max(warm)))
    times: dict[str, list[float]] = {f: [] for f in FORMATS}
    for _ in range(repeats):
        for memory_format, flat in flats.items():
            times[memory_format].append(step_ms(flat, inputs, labels, num_steps))
    contiguous, last = (statistics.median(times[f]) for f in FORMATS)
    return f"{name:15}{contiguous:10.2f} ms{last:10.2f} ms{last / contiguous:8.2f}   {MODELS[name].memory_format}"


def main() -> None:
    """Print one line for each built-in model that takes images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':15}{'contiguous':>13}{'channels_last':>13}{'ratio':>8}   auto")
    for name, entry in MODELS.items():
        if "image" in entry.takes and name != "mlp":
            print(compare(name, arguments.batch, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
