"""The callback that writes a run for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import final

from orchestrator.config.overrides import flatten
from orchestrator.errors import RequestError
from orchestrator.results.run_result import RunResult


@final
class TensorBoardCallback:
    """Writes each round's metrics as scalars to a folder that `tensorboard --logdir` shows; see RunCallback.

    The step is the round (0-based). At the end, the run's config and summary follow as texts. A resumed run continues
    the curves in the same folder. Raises RequestError when the package `tensorboard` is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        """`folder` gets the files of this run; use one folder for each run."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RequestError(
                "callbacks",
                "TensorBoardCallback",
                "the package `tensorboard` is not installed",
                "install it with `pip install tensorboard`",
            ) from error
        self._writer = SummaryWriter(str(folder))

    def on_round(self, round_idx: int, metrics: Mapping[str, float]) -> None:
        """See RunCallback."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, round_idx)
        self._writer.flush()

    def on_end(self, result: RunResult) -> None:
        """See RunCallback."""
        texts = {"config": flatten(result.config.to_dict()), "summary": result.to_dict()}
        for name, values in texts.items():
            rows = [f"| {key} | {json.dumps(value, default=str)} |" for key, value in values.items()]
            table = "\n".join(["| key | value |", "| --- | --- |", *rows])
            self._writer.add_text(name, table, result.num_rounds - 1)
        self._writer.flush()  # a resumed run may use the same callback, so the writer stays open
