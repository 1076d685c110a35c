"""The callback that sends a run to Weights & Biases."""

from collections.abc import Mapping
from typing import Any, final

from orchestrator.errors import RequestError
from orchestrator.results.run_result import RunResult


@final
class WandbCallback:
    """Logs each round's metrics, the config and the summary to a run of Weights & Biases; see RunCallback.

    The step is the round (0-based). The W&B run starts with the first round and finishes with the run. Raises
    RequestError when the package `wandb` is not installed.
    """

    def __init__(self, project: str = "sparsefleet", **options: Any) -> None:
        """`options` go to `wandb.init`, for example `name`, `tags`, `mode="offline"`, or `id` and `resume`."""
        try:
            import wandb
        except ImportError as error:
            raise RequestError(
                "callbacks",
                "WandbCallback",
                "the package `wandb` is not installed",
                "install it with `pip install wandb`",
            ) from error
        self._init, self._options = wandb.init, {"project": project, **options}
        self._run: Any = None  # W&B's classes have no complete types

    def on_round(self, round_idx: int, metrics: Mapping[str, float]) -> None:
        """See RunCallback."""
        if self._run is None:
            self._run = self._init(**self._options)
        self._run.log(dict(metrics), step=round_idx)

    def on_end(self, result: RunResult) -> None:
        """See RunCallback."""
        if self._run is None:
            return  # no round was committed
        self._run.config.update(result.config.to_dict())
        self._run.summary.update({**result.to_dict(), "folder": str(result.folder)})
        self._run.finish()
        self._run = None
