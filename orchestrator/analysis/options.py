"""The options of a comparison."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from orchestrator.errors import RequestError

Metric = Literal[
    "accuracy",
    "personal_accuracy",
    "validation_accuracy",
    "validation_personal_accuracy",
    "unseen_accuracy",
    "unseen_personal_accuracy",
]
Cost = Literal["upload", "download", "flops", "time"]

#: logged name of each metric and cost
METRICS: dict[Metric, str] = {
    "accuracy": "eval/accuracy",
    "personal_accuracy": "personal/accuracy_mean",
    "validation_accuracy": "validation/accuracy",
    "validation_personal_accuracy": "validation/personal_accuracy_mean",
    "unseen_accuracy": "eval/unseen_accuracy_mean",
    "unseen_personal_accuracy": "personal/unseen_accuracy_mean",
}
COSTS: dict[Cost, str] = {
    "upload": "comm/upload_bytes_total",
    "download": "comm/download_bytes_total",
    "flops": "compute/train_flops_total",
    "time": "time/emulated_s_total",
}
#: name of each cost with its unit, for column headings in CSV and JSON
COST_COLUMNS: dict[Cost, str] = {
    "upload": "upload_bytes",
    "download": "download_bytes",
    "flops": "train_flops",
    "time": "emulated_s",
}
#: display name of each metric and cost
METRIC_TITLES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "personal_accuracy": "personal accuracy",
    "validation_accuracy": "validation accuracy",
    "validation_personal_accuracy": "personal validation accuracy",
    "unseen_accuracy": "accuracy on unseen clients",
    "unseen_personal_accuracy": "personal accuracy of unseen clients",
}
COST_TITLES: dict[Cost, str] = {
    "upload": "uploaded bytes",
    "download": "downloaded bytes",
    "flops": "training FLOPs",
    "time": "emulated time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Options of a comparison. Raises RequestError for invalid values.

    - `metric`: metric of the comparison; higher is better.
    - `order`: metric that orders the rows, best first; None: `metric`.
    - `cost`: cost axis of the Pareto front; lower is better.
    - `baseline`: label, method, run id or KEY=VALUE of the baseline; None computes no paired differences.
    - `upload_caps`: bytes; empty chooses caps from the runs (`default_caps`).
    - `targets`: values of the metric in (0, 1]; empty chooses targets from the runs (`default_targets`).
    """

    metric: Metric = "accuracy"
    order: Metric | None = None
    cost: Cost = "upload"
    baseline: str | None = None
    upload_caps: Sequence[float] = ()
    targets: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Check values that may come from the command line."""
        if self.metric not in get_args(Metric):
            remedy = f"choose one of {', '.join(get_args(Metric))}"
            raise RequestError("--metric", self.metric, "this metric does not exist", remedy)
        if self.cost not in get_args(Cost):
            remedy = f"choose one of {', '.join(get_args(Cost))}"
            raise RequestError("--cost", self.cost, "this cost does not exist", remedy)
        for cap in self.upload_caps:
            if not (math.isfinite(cap) and cap > 0):
                raise RequestError(
                    "--at-upload",
                    cap,
                    "an upload cap must be a positive number of bytes",
                    "write 5MB for 5 megabytes",
                )
        for target in self.targets:
            if not 0 < target <= 1:
                raise RequestError(
                    "--to-accuracy", target, "a target must be a fraction in (0, 1]", "write 0.9 for 90 %"
                )
