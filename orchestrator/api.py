"""The public functions: the same runs as from the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.display.run_progress import Progress
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.runtime.session import Display
from orchestrator.storage.folders import find_run
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.request import SweepRequest, as_option_error

if TYPE_CHECKING:
    from orchestrator.sweeping.result import SweepResult


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


def sweep(
    space: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    display: SweepProgress | None = None,
    verbose: bool = False,
    **options: Any,
) -> "SweepResult":
    """Run a search space's trials: a name of `sparsefleet list spaces`, or a `.py` file.

    `overrides` maps dotted config keys to a value that all trials have, or to a list that is a dimension; `config` is
    a nested config tree that the trials begin with. `options` are the fields of SweepRequest: search, scheduler,
    objective, num_samples, seeds, max_concurrent, grace_rounds, perturb_rounds. `display` None shows a progress bar.
    Trials that fail are in the result and end nothing. Raises a RequestError for what cannot be done as asked.
    """
    from orchestrator.sweeping.tune.session import sweep as run_sweep

    asked = {"space": space, "overrides": dict(overrides or {}), "config": dict(config or {}), **options}
    try:
        request = SweepRequest.model_validate(asked)
    except ValidationError as error:
        raise as_option_error(error) from error
    return run_sweep(request, display or SweepProgress(), verbose=verbose)


def resume_sweep(
    sweep: str | Path, *, max_concurrent: int | None = None, display: SweepProgress | None = None
) -> "SweepResult":
    """Finish a sweep, named by its folder; trials that finished or were stopped are not run again."""
    from orchestrator.sweeping.store import find_sweep
    from orchestrator.sweeping.tune.session import resume_sweep as go_on

    folder = find_sweep(str(sweep), Path("runs"))
    return go_on(folder, display or SweepProgress(), max_concurrent=max_concurrent)
