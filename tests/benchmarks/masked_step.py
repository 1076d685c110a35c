"""Compare a training step with a mask to a dense step: `python -m tests.benchmarks.masked_step`.

FedDST, FedSpa and SSFL apply their masks in every step. A step is forward, backward and SGD with momentum on 32
images of 3x32x32 with one thread, dense and at densities 0.5 and 0.2. The steps of a model alternate within one
command. Prints the ratios of the medians and their upper bound.
"""

import argparse
import json

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.seeds import stream
from orchestrator.models.registry import resolve_builder
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import random_mask
from tests.benchmarks.step_timing import NUM_CLASSES, SHAPE, medians, run_of, step_of
from tests.support.fakes import seeded

DENSITIES = (0.5, 0.2)
BOUND = 1.05
#: model -> fraction of the requested repeats
MODELS = {"lenet_cifar": 1.0, "cnn_cifar": 1.0, "resnet18": 0.1}


def task_of(model: str, density: float) -> CheckedRun:
    """Return a task with a random mask of this density in every layer; no mask for density 1."""
    run = run_of(seeded(lambda: resolve_builder(model)(SHAPE, NUM_CLASSES)))
    if density < 1.0:
        layout = run.setting.layout
        counts = allocate(layout, density, run.setting.sparsity)
        run.load(run.start, random_mask(layout, counts, stream(0, "mask")))
    return run


def main() -> None:
    """Print the medians and ratios, as text and as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    ratios: dict[str, dict[str, float]] = {}
    for model in arguments.models:
        repeats = max(5, int(MODELS[model] * arguments.repeats))
        tasks = {f"{d:g}": task_of(model, d) for d in (1.0, *DENSITIES)}
        seconds = medians({name: step_of(task) for name, task in tasks.items()}, repeats)
        ratios[model] = {f"{d:g}": round(seconds[f"{d:g}"] / seconds["1"], 3) for d in DENSITIES}
        print(f"{model}: dense {1e3 * seconds['1']:.2f} ms", flush=True)
        for name, ratio in ratios[model].items():
            verdict = "met" if ratio <= BOUND else "MISSED"
            print(f"  density {name}: ratio {ratio:.3f}, bound {BOUND:.2f} {verdict}", flush=True)
    print(json.dumps({"ratios": ratios, "bound": BOUND, "repeats": arguments.repeats}))


if __name__ == "__main__":
    main()
