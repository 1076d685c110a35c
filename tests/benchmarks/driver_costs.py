"""Measure the driver's work for each update by model size: `python -m tests.benchmarks.driver_costs`.

Prints nanoseconds of one thread per parameter, for a dense update and for an update at density 0.2 with its own mask.
The steps are: encode (on the client), decode, fold, and once a round the server step and the checkpoint. Also prints
the constant time of an update, and the cost of a round with `--participants` clients and a model of `--parameters`
parameters. All times are medians over `--repeats`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.federation.aggregate import AGGREGATORS, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import pack_model, unpack_model
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.sparsity.wire import decode, encode
from orchestrator.storage.checkpoints.checkpoint import Checkpoint
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore

SMALL, LARGE, DENSITY = 10_000, 4_000_000, 0.2


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU seconds of a call."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def steps(layout: ParameterLayout, mask: Tensor | None, folder: Path) -> dict[str, Callable[[], object]]:
    """Return the steps of one update of this layout, by name."""
    values = torch.randn(layout.size) * (1.0 if mask is None else mask)
    data = np.frombuffer(encode((pack_model(layout, values, mask),)), np.uint8)
    model = unpack_model(layout, decode(data))
    assert model is not None
    aggregator = AGGREGATORS["covmean"]()
    entries = model.entries
    contribution = Contribution(
        client_id=0,
        weight=1.0,
        values=model.values if entries is None else None,
        mask=None,
        start=values,
        entries=entries,
    )
    aggregator.add(contribution)
    commits, state = CheckpointStore(folder), ServerState(params=values, mask=mask)
    commit = Checkpoint(
        round_idx=0, server_state=state, client_states={}, shared_masks={}, totals={}, log_bytes={}
    )
    return {
        "encode": lambda: encode((pack_model(layout, values, mask),)),
        "decode": lambda: unpack_model(layout, decode(data)),
        "fold": lambda: aggregator.add(contribution),
        "finish": lambda: aggregator.finish(values).values.to(torch.float32),
        "commit": lambda: commits.write(commit),
    }


def layout_of(num_parameters: int) -> ParameterLayout:
    """Return the layout of one layer with about `num_parameters` weights."""
    return FlatModule(nn.Linear(num_parameters // 1000, 1000, bias=False)).layout


def bytes_per_parameter(density: float | None) -> float:
    """Return the bytes of an encoded update, divided by the parameters of the model."""
    layout = layout_of(LARGE)
    mask = None if density is None else torch.rand(layout.size) < density
    return len(encode((pack_model(layout, torch.ones(layout.size), mask),))) / LARGE


def main() -> None:
    """Print the constants and the cost of the requested round as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--participants", type=int, default=10_000)
    parser.add_argument("--parameters", type=int, default=11_000_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {}
    for name, density in (("dense", None), ("density 0.2", DENSITY)):
        measured: dict[int, dict[str, float]] = {}
        for size in (SMALL, LARGE):
            layout = layout_of(size)
            mask = None if density is None else torch.rand(layout.size) < density
            with tempfile.TemporaryDirectory() as folder:
                work = steps(layout, mask, Path(folder))
                measured[size] = {step: seconds(call, arguments.repeats) for step, call in work.items()}
        slope = {
            step: (measured[LARGE][step] - measured[SMALL][step]) / (LARGE - SMALL)
            for step in measured[SMALL]
        }
        fixed = {step: max(0.0, measured[SMALL][step] - slope[step] * SMALL) for step in slope}
        driver = sum(slope[s] * arguments.parameters + fixed[s] for s in ("decode", "fold"))
        once = sum(slope[s] * arguments.parameters + fixed[s] for s in ("finish", "commit"))
        kept = arguments.parameters * bytes_per_parameter(density)
        result[name] = {
            "ns_per_parameter": {step: round(1e9 * value, 2) for step, value in slope.items()},
            "us_per_update": {step: round(1e6 * value) for step, value in fixed.items()},
            "round": {
                "driver_s": round(arguments.participants * driver + once, 1),
                "driver_ms_per_update": round(1e3 * driver, 1),
                "upload_gb": round(arguments.participants * kept / 1e9, 1),
                "upload_mb_per_update": round(kept / 1e6, 2),
            },
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
