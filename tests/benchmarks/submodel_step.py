"""Compare a training step of a submodel to the full model: `python -m tests.benchmarks.submodel_step`.

A step is forward, backward and SGD with momentum of cnn_cifar on 32 images of 3x32x32 with one thread. The submodels
have the first half, quarter or sixteenth of the units of each layer. The steps alternate within one command. Prints
the ratios of the medians and their upper bounds.
"""

import argparse
import json

import torch

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.models.registry import resolve_builder
from orchestrator.models.units.submodel import first_units
from orchestrator.models.units.tracing import trace_units
from tests.benchmarks.step_timing import NUM_CLASSES, SHAPE, medians, run_of, step_of
from tests.support.fakes import seeded

#: width -> upper bound of the ratio to the full model's step
BOUNDS = {1 / 2: 0.40, 1 / 4: 0.20, 1 / 16: 0.10}


def task_of(width: float) -> CheckedRun:
    """Return a task with this fraction of the units of every layer."""
    flat = seeded(lambda: resolve_builder("cnn_cifar")(SHAPE, NUM_CLASSES))
    units = trace_units(flat.module, torch.zeros(2, *SHAPE))
    run = run_of(flat, units)
    if width < 1.0:
        run.load_submodel(run.start, first_units(units, {g.name: int(width * g.num_units) for g in units}))
    return run


def main() -> None:
    """Print the medians and ratios, as text and as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    tasks = {width: task_of(width) for width in (1.0, *BOUNDS)}
    seconds = medians({f"{w:g}": step_of(task) for w, task in tasks.items()}, arguments.repeats)
    full = seconds["1"]
    print(f"full model: {1e3 * full:.2f} ms")
    ratios = {}
    for width, bound in BOUNDS.items():
        name = f"{width:g}"
        ratios[name] = round(seconds[name] / full, 3)
        verdict = "met" if ratios[name] <= bound else "MISSED"
        print(
            f"width {name}: {1e3 * seconds[name]:.2f} ms, ratio {ratios[name]:.3f}, bound {bound:.2f} {verdict}"
        )
    result = {
        "model": "cnn_cifar",
        "full_ms": round(1e3 * full, 3),
        "ratios": ratios,
        "bounds": {f"{width:g}": bound for width, bound in BOUNDS.items()},
        "repeats": arguments.repeats,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
