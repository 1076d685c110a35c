"""The public functions: the same runs as from the command line."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.runtime.session import Display
from orchestrator.runtime.store import find_run
from orchestrator.runtime.summary import RunSummary
from orchestrator.tracking.progress import Progress


def run(config: ExperimentConfig, display: Display | None = None) -> RunSummary:
    """Run an experiment to its end; `display` None shows a progress bar on standard error.

    Raises a RequestError for what cannot be done as asked, another SparsefleetError when the run fails.
    """
    return session.run(config, display or Progress())


def resume(run: str | Path, overrides: Sequence[str] = (), display: Display | None = None) -> RunSummary:
    """Go on with a run, named by its folder, under `KEY=VALUE` overrides of training.rounds, runtime or tracking.

    Raises ConfigError for other overrides, CheckpointError when the run cannot be resumed.
    """
    return session.resume(find_run(str(run), Path("runs")), list(overrides), display or Progress())
