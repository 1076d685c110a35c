"""Start a sweep in a new folder, or resume a sweep: check the request, describe the sweep, run its trials."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from orchestrator.config.formats import CONFIG_FORMATS
from orchestrator.config.overrides import put_values
from orchestrator.errors import ClusterError, RequestError
from orchestrator.experiment.checkout import commit_of_folder, commit_of_package
from orchestrator.formatting import counted
from orchestrator.plugins.loading import relocated
from orchestrator.runtime.tracking.setup import (
    check_storage_and_tracking,
    destination_note,
    parent_tags,
    resolve_tracking,
    tracking_values,
)
from orchestrator.storage.folders import unique_name
from orchestrator.storage.lock import new_locked_folder
from orchestrator.storage.run_description import FORMAT_KEY
from orchestrator.storage.sources import (
    SOURCES,
    copies_in_use,
    require_unchanged,
    store_sources,
    stored_places,
    updated_sources,
)
from orchestrator.sweeping.display import SweepDisplay
from orchestrator.sweeping.plan import SweepPlan, plan_resumed_sweep, plan_sweep
from orchestrator.sweeping.request import SweepRequest, with_tracking
from orchestrator.sweeping.result import SweepResult
from orchestrator.sweeping.resumption import restore_trials
from orchestrator.sweeping.sources import sweep_sources
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.sweep_execution import execute_sweep


def sweep(
    request: SweepRequest,
    display: SweepDisplay,
    *,
    verbose: bool = False,
    tags: Mapping[str, str] | None = None,
    resumption: str | None = None,
) -> SweepResult:
    """Run a sweep in a new folder of `runtime.storage`.

    `tags` are added to the tags of the sweep, and those that are not MLflow's own (`mlflow.*`) to the tags of its
    trials. `resumption` is the command that resumes the study to which the sweep belongs (None: the command that
    resumes the sweep). A failed trial does not end the sweep. Raises RequestError for an invalid request. Raises
    TrackingError when MLflow is unreachable at the start, or when some results could not be delivered at the end.
    """
    config, destination = resolve_tracking(plan_sweep(request).config)
    request = with_tracking(request, tracking_values(config))
    plan = plan_sweep(request)
    trials = [] if plan.is_adaptive else plan.trials()
    check_storage_and_tracking(plan.config)
    folder = plan.config.runtime.storage.resolve() / unique_name(plan.space.name)
    with new_locked_folder(folder):
        all_tags = {**parent_tags(destination), **(tags or {})}
        place = destination_note(plan.config, destination)
        return _begin(plan, trials, SweepStore(folder, resumption), display, verbose, all_tags, place)


def _begin(
    plan: SweepPlan,
    trials: Sequence[TrialSpec],
    store: SweepStore,
    display: SweepDisplay,
    verbose: bool,
    tags: Mapping[str, str],
    place: str,
) -> SweepResult:
    """Describe a new sweep in its folder, and run its trials."""
    request = plan.request
    if request.space is not None and request.space.endswith(
        ".py"
    ):  # the user may resume the sweep from another folder
        request = request.model_copy(update={"space": str(Path(request.space).expanduser().resolve())})
    store.describe(
        {
            "sweep_id": store.sweep_id,
            FORMAT_KEY: CONFIG_FORMATS.latest,
            "space": plan.space.name,
            "request": request.model_dump(mode="json"),
            "base": dict(plan.base),
            "summary": plan.space.summary,
            "dimensions": {key: str(value) for key, value in plan.dimensions.items()},
            "home": os.getcwd(),
            SOURCES: store_sources(store.folder, sweep_sources(replace(plan, request=request))),
            "git_commit": commit_of_folder(Path()),
            "package_commit": commit_of_package(),
            "tags": dict(tags),
        }
    )
    store.add_trials(trials)
    if plan.overridden:
        display.note(f"space {plan.space.name} overrides {', '.join(plan.overridden)} of the config file")
    try:
        return execute_sweep(plan, store, display, verbose, place)
    except (RequestError, ClusterError):
        if not any(store.run_folders(trial.number) for trial in store.trials()):
            shutil.rmtree(store.folder)  # the sweep ended before the first trial: there is nothing to resume
        raise


def resume_sweep(
    folder: Path,
    display: SweepDisplay,
    *,
    max_concurrent: int | None = None,
    verbose: bool = False,
    accept_changed_code: bool = False,
    resumption: str | None = None,
) -> SweepResult:
    """Resume a sweep: run the trials that have neither finished nor been stopped, from their last checkpoints.

    Relative paths in the sweep's config refer to the folder in which the sweep was started. Raises CheckpointError
    when the folder does not contain a sweep or the search space has changed. Raises ConfigError for a user's file that
    has changed, except with `accept_changed_code`. Raises the errors of `sweep` too. `resumption` is as in `sweep`.
    """
    store = SweepStore(folder, resumption)
    with store.locked():
        return _resume(store, display, max_concurrent, verbose, accept_changed_code)


def _resume(
    store: SweepStore,
    display: SweepDisplay,
    max_concurrent: int | None,
    verbose: bool,
    accept_changed_code: bool,
) -> SweepResult:
    folder, about = store.folder, store.about()
    home = Path(about.get("home", os.getcwd()))
    changes = {} if max_concurrent is None else {"max_concurrent": max_concurrent}
    with chdir(home if home.is_dir() else os.getcwd()), relocated(places := stored_places(folder, about)):
        for line in copies_in_use(folder, places):
            display.note(line)
        plan = plan_resumed_sweep(store, **changes)
        sources = sweep_sources(plan)
        if not accept_changed_code:
            require_unchanged(folder, about, sources)
        config, destination = resolve_tracking(plan.config, is_recorded=True)
        plan = replace(plan, config=config, base=put_values(plan.base, tracking_values(config)))
        check_storage_and_tracking(config)
        place = destination_note(config, destination)
        store.describe(updated_sources(folder, about, sources, len(store.endings())))
        if lost := restore_trials(store, [] if plan.is_adaptive else plan.trials()):
            display.note(f"trials.jsonl had lost {counted(len(lost), 'trial')}; the sweep records them again")
        return execute_sweep(plan, store, display, verbose, place)
