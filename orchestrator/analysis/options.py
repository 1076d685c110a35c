"""What to compare runs by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrator.errors import RequestError

Metric = Literal["accuracy", "personal_accuracy"]
Cost = Literal["upload", "download", "flops", "time"]

#: logged name of each
METRICS: dict[Metric, str] = {"accuracy": "eval/accuracy", "personal_accuracy": "personal/accuracy_mean"}
COSTS: dict[Cost, str] = {
    "upload": "comm/upload_bytes_total",
    "download": "comm/download_bytes_total",
    "flops": "compute/train_flops_total",
    "time": "time/emulated_s_total",
}
#: name with its unit, for headings that programs read
COST_COLUMNS: dict[Cost, str] = {
    "upload": "upload_bytes",
    "download": "download_bytes",
    "flops": "train_flops",
    "time": "emulated_s",
}
#: name as people read it
METRIC_TITLES: dict[Metric, str] = {"accuracy": "accuracy", "personal_accuracy": "personal accuracy"}
COST_TITLES: dict[Cost, str] = {
    "upload": "uploaded bytes",
    "download": "downloaded bytes",
    "flops": "training FLOPs",
    "time": "emulated time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """`metric` is what is better when higher, `cost` what the Pareto front weighs it against.

    `baseline` is a configuration's label, a method or a run id of it, or a KEY=VALUE of its config (None:
    nothing is compared in pairs). `upload_caps` are bytes, `targets` shares of the metric in (0, 1]; of
    either an empty sequence means such as fit the runs. Raises RequestError for values that cannot be.
    """

    metric: Metric = "accuracy"
    cost: Cost = "upload"
    baseline: str | None = None
    upload_caps: Sequence[float] = ()
    targets: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check what a command line may have been given."""
        if self.metric not in get_args(Metric):
            known = f"name one of {', '.join(get_args(Metric))}"
            raise RequestError("--metric", self.metric, "there is no such metric", known)
        if self.cost not in get_args(Cost):
            known = f"name one of {', '.join(get_args(Cost))}"
            raise RequestError("--cost", self.cost, "there is no such cost", known)
        for cap in self.upload_caps:
            if not (math.isfinite(cap) and cap > 0):
                raise RequestError(
                    "--at-upload", cap, "a cap is a positive number of bytes", "give such a number"
                )
        for target in self.targets:
            if not 0 < target <= 1:
                raise RequestError(
                    "--to-accuracy", target, "a target is a share in (0, 1]", "write 0.9 for 90 %"
                )
