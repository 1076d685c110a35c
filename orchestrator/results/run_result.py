"""The result of a run as an object: the summary, the folder, data frames and plots."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import parse_stored
from orchestrator.formatting import counted, format_bytes, format_flops, format_seconds
from orchestrator.results.frames import clients_frame, rounds_frame
from orchestrator.results.html import html_table
from orchestrator.results.plots import ROUND, plot_rounds
from orchestrator.storage.best_model import best_model_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.record import committed_records

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: tables of a run
RunTable = Literal["rounds", "clients"]


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunResult(RunSummary):
    """The result of a run: the fields of RunSummary, and the folder from which the tables are read.

    `folder` is the run's folder. A notebook shows the object as a table.
    """

    folder: Path

    @classmethod
    def from_summary(cls, summary: RunSummary, folder: Path) -> "RunResult":
        """Return the result of the run with this summary in this folder."""
        return cls(**summary.to_dict(), folder=folder)

    @classmethod
    def load(cls, folder: Path) -> "RunResult":
        """Read a run's folder, also of a run that still trains or was killed.

        The summary is the one that the run wrote. If there is none for the committed rounds, it is computed from them,
        with `interrupted` True and no `params_sha256`. Raises CheckpointError for unreadable files.
        """
        records = committed_records(folder)
        if (path := folder / "summary.json").is_file():
            summary = RunSummary.read(path)
            if summary.num_rounds == len(records):
                return cls.from_summary(summary, folder)
        store = RunStore(folder)
        return cls.from_summary(
            RunSummary.of(parse_stored(store.config()), store, records, None, True), folder
        )

    @property
    def config(self) -> ExperimentConfig:
        """The resolved config of the run. Raises ConfigError for a config that this release cannot read."""
        return parse_stored(RunStore(self.folder).config())

    @property
    def best_model(self) -> Path | None:
        """The folder with the global model of `best_round`, in the files of `model/`; None if none is kept."""
        folder = None if self.best_round is None else best_model_folder(self.folder, self.best_round)
        return folder if folder is not None and folder.is_dir() else None

    def to_dataframe(self, table: RunTable = "rounds") -> "pd.DataFrame":
        """Return a table of the run: `rounds` (see `rounds_frame`) or `clients` (see `clients_frame`).

        Raises RequestError for another name.
        """
        if table not in _TABLES:
            raise RequestError("table", table, "a run has no such table", f"use {' or '.join(_TABLES)}")
        frame: pd.DataFrame = _TABLES[table](self.folder)
        return frame

    def plot(self, metric: str = "eval/accuracy", x: str = ROUND, axes: "Axes | None" = None) -> "Axes":
        """Draw a metric over the rounds or over another metric, such as `comm/upload_bytes_total`.

        `axes` None creates new axes with matplotlib's pyplot. Raises RequestError for a metric that no round measured.
        """
        return plot_rounds({self.run_id: self.to_dataframe()}, metric, x, axes)

    def __repr__(self) -> str:
        """Three lines: the run and its accuracies, its costs, its folder."""
        accuracies = [f"{name} {value}" for name, value in self._accuracies().items()]
        costs = [f"{name} {value}" for name, value in self._costs().items()]
        return "\n  ".join([f"{self._title()}: {', '.join(accuracies)}", ", ".join(costs), str(self.folder)])

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        cells = {**self._accuracies(), **self._costs()}
        return html_table(f"{self._title()} in {self.folder}", list(cells), [list(cells.values())])

    def _title(self) -> str:
        state = ", interrupted" if self.interrupted else ""
        return f"{self.run_id} ({counted(self.num_rounds, 'round')}{state})"

    def _accuracies(self) -> dict[str, str]:
        named = {
            "accuracy": self.accuracy,
            "personal accuracy": self.personal_accuracy,
            "accuracy on unseen clients": self.unseen_accuracy,
            "personal accuracy of unseen clients": self.unseen_personal_accuracy,
            f"accuracy of the best round ({self.best_round})": self.best_accuracy,
            f"personal accuracy of the best round ({self.best_round})": self.best_personal_accuracy,
        }
        measured = {name: f"{100 * value:.2f}%" for name, value in named.items() if value is not None}
        return measured or {"accuracy": "not measured"}

    def _costs(self) -> dict[str, str]:
        return {
            "upload": format_bytes(self.upload_bytes_total),
            "download": format_bytes(self.download_bytes_total),
            "training": format_flops(self.train_flops_total),
            "emulated": format_seconds(self.emulated_s_total),
            "wall": format_seconds(self.wall_s_total),
        }


_TABLES: dict[str, Callable[[Path], Any]] = {"rounds": rounds_frame, "clients": clients_frame}
