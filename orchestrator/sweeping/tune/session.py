"""A whole sweep from request to result: planned, run on Tune, tracked, compared; and the same for one that goes on."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import put_values
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError, RequestError, SparsefleetError, TrackingError
from orchestrator.execution.placement import Capacity
from orchestrator.execution.ray_actors import end_actors
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.ray_head_monitor import exiting_when_head_is_lost, is_client_connection
from orchestrator.runtime.ray_session import ray_session
from orchestrator.runtime.run_folder import (
    git_commit,
    public_params,
    run_info,
    tracking_uri,
    unique_name,
    user_name,
)
from orchestrator.runtime.session import check_storage_and_tracking, on_interrupt
from orchestrator.storage.atomic_write import write_durably
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.plan import SweepPlan, plan_again, plan_sweep
from orchestrator.sweeping.report import report_sweep
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.result import SweepResult, result_of
from orchestrator.sweeping.resumption import left_over, settled, undelivered
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.sweeping.tune.callback import MLFLOW_STATUS, SweepCallback, SweepStopper
from orchestrator.sweeping.tune.dataset_cache import start_shelf
from orchestrator.sweeping.tune.fit import (
    RemainingTrials,
    TrialFactory,
    TuneEnvironment,
    fit,
    share_of_cluster,
)
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.record import RunInfo


def sweep(request: SweepRequest, display: SweepProgress, *, verbose: bool = False) -> SweepResult:
    """Run a sweep in a new folder of `runtime.storage`.

    A trial that fails does not end it. Raises a RequestError for what cannot be done as asked, TrackingError when the
    store is unreachable at the start or what it lacks cannot be delivered at the end.
    """
    plan = plan_sweep(request)
    trials = [] if plan.is_adaptive else plan.trials()
    check_storage_and_tracking(plan.config)
    folder = plan.config.runtime.storage.resolve() / unique_name(plan.space.name)
    folder.mkdir(parents=True)
    store = SweepStore(folder)
    if request.space.endswith(".py"):  # a resumption may come from another folder
        request = request.model_copy(update={"space": str(Path(request.space).expanduser().resolve())})
    store.describe(
        {
            "sweep_id": store.sweep_id,
            "space": plan.space.name,
            "request": request.model_dump(mode="json"),
            "base": dict(plan.base),
            "summary": plan.space.summary,
            "dimensions": {key: str(value) for key, value in plan.dimensions.items()},
            "home": os.getcwd(),
            "git_commit": git_commit(),
        }
    )
    store.add_trials(trials)
    if plan.overruled:
        display.note(f"{plan.space.name} sets {', '.join(plan.overruled)}, whatever the config file says")
    try:
        return _run(plan, store, display, verbose)
    except RequestError:
        if not any(store.run_folders(trial.number) for trial in store.trials()):
            shutil.rmtree(folder)  # refused before its first trial: there is nothing to resume
        raise


def resume_sweep(
    folder: Path,
    display: SweepProgress,
    *,
    max_concurrent: int | None = None,
    verbose: bool = False,
) -> SweepResult:
    """Finish a sweep: trials that finished or were stopped are not run again, the others go on from their last commits.

    Relative paths in its config are meant in the folder in which it was started. Raises CheckpointError when the
    folder does not hold a sweep, or its space has changed, and what `sweep` raises.
    """
    store = SweepStore(folder)
    home = Path(store.about().get("home", os.getcwd()))
    changes = {} if max_concurrent is None else {"max_concurrent": max_concurrent}
    with chdir(home if home.is_dir() else os.getcwd()):
        plan = plan_again(store, **changes)
        check_storage_and_tracking(plan.config)
        return _run(plan, store, display, verbose)


def _run(plan: SweepPlan, store: SweepStore, display: SweepProgress, verbose: bool) -> SweepResult:
    config = plan.config
    resumption = f"sparsefleet sweep {store.folder} --resume"
    with (
        store.locked(),
        ray_session(config.runtime, verbose=verbose),
        exiting_when_head_is_lost(config.runtime.address, resumption),
    ):
        _require_member(config.runtime.address)
        recorded = store.trials()
        ended = settled(store, recorded, plan.objective, plan.base)
        pending = RemainingTrials(trials=left_over(store, recorded, ended), recorded=recorded, ended=ended)
        num_trials = _num_trials(plan, recorded)
        capacity = cluster_capacity()
        share = share_of_cluster(plan, max(1, num_trials - len(ended)), capacity)
        tasks = TrialFactory(plan, capacity, share)
        for trial in () if plan.is_adaptive else pending.trials:
            tasks(trial)
        display.note(f"{store.sweep_id}: {num_trials} trials, {share.concurrent} at a time")
        info = _sweep_info(plan, store) if config.tracking.enabled else None
        tracker = SweepTracker(store.sweep_id, info)
        interruption = SweepStopper()
        around = TuneEnvironment(
            store=store,
            tasks=tasks,
            share=share,
            shelf=f"{store.sweep_id}/data",
            home=os.getcwd(),
            watch=SweepCallback(
                store,
                plan.objective,
                tracker,
                display,
                interruption,
                NodeMonitor(capacity, config.runtime.restart_timeout_s),
                together=plan.request.scheduler == "pbt",
            ),
            interruption=interruption,
        )
        started_s = time.perf_counter()
        try:
            _deliver_again(store, recorded, ended, tracker)
            _fit_shown(plan, pending, around, display, num_trials)
            for line in store.data_notes():
                display.note(line)
            result = _conclude(plan, pending, around, num_trials)
        except Exception:
            with suppress(SparsefleetError):
                around.watch.interrupted()
            if problem := tracker.give_up():
                display.note(problem)
            raise
        display.note("writing to MLflow" if config.tracking.enabled else "MLflow is off")
        tracker.finish("KILLED" if result.interrupted else "FINISHED", _numbers(result))
        problem = tracker.close()
        wall_s = time.perf_counter() - started_s
        result = replace(result, wall_s=wall_s, tracking_s=tracker.spent_s)
        write_durably(store.folder / "summary.json", result.to_json().encode())
        if problem:
            raise TrackingError(f"{problem} (the sweep itself is complete: {store.folder})")
        return result


def _require_member(address: str | None) -> None:
    """Tune and the writing down of results are in the command's process, and the drivers beside it."""
    if is_client_connection():
        problem = "a sweep is run on a node of its cluster, not through Ray Client"
        remedy = "`sparsefleet submit --address http://HEAD:8265 sweep ...` with runtime.address=auto runs it there"
        raise ConfigError("runtime.address", address, problem, remedy)


def _num_trials(plan: SweepPlan, recorded: Sequence[TrialSpec]) -> int:
    """Trials of the whole sweep, those that a search has not asked for yet too."""
    return plan.request.samples * plan.request.seeds if plan.is_adaptive else len(recorded)


def _fit_shown(
    plan: SweepPlan,
    pending: RemainingTrials,
    around: TuneEnvironment,
    display: SweepProgress,
    num_trials: int,
) -> None:
    """Let Tune run what is pending, and show how it goes.

    In more than one pass where trials lose their actors, or a node for which they wait.
    """
    if len(pending.ended) >= num_trials:
        return
    display.start(around.store.sweep_id, num_trials, len(pending.ended))
    try:
        with on_interrupt(around.interruption.request, "stopping the trials"):
            _fit_with_shelf(plan, pending, around)
            while around.watch.wants_another_pass and not around.interruption.requested:
                left, around = planned_anew(plan, pending, around, cluster_capacity())
                if left.trials or plan.is_adaptive:
                    _fit_with_shelf(plan, left, around)
    finally:
        display.stop()
    if around.watch.problem is not None:
        raise around.watch.problem


def _fit_with_shelf(plan: SweepPlan, pending: RemainingTrials, around: TuneEnvironment) -> None:
    """One pass, with an actor beside it that loads the data."""
    shelf = start_shelf(around.shelf, around.home)
    try:
        fit(plan, pending, around)
    finally:
        end_actors([shelf])


def planned_anew(
    plan: SweepPlan, begun: RemainingTrials, around: TuneEnvironment, capacity: Capacity
) -> tuple[RemainingTrials, TuneEnvironment]:
    """What is left of what this process has begun, on what the cluster has now: the trials that have not ended.

    One that the cluster does not hold any more has failed.
    """
    store, watch = around.store, around.watch
    watch.begin_anew(capacity)
    recorded = store.trials()
    left = [t for t in recorded if t.number not in begun.ended and t.number not in watch.ended_here]
    for trial in left:
        store.mark_superseded(trial.number)
    num_ended = len({*begun.ended, *watch.ended_here})
    share = share_of_cluster(plan, max(1, _num_trials(plan, recorded) - num_ended), capacity)
    around = replace(around, tasks=TrialFactory(plan, capacity, share), share=share)
    trials = []
    for trial in left_over(store, left, {}):
        try:
            around.tasks(trial)
        except RequestError as lack:
            watch.refuse(trial, lack)
        else:
            trials.append(trial)
    ended = {n: ending for n, ending in store.endings().items() if n in begun.ended or n in watch.ended_here}
    return RemainingTrials(trials=trials, recorded=recorded, ended=ended), around


def _conclude(
    plan: SweepPlan, pending: RemainingTrials, around: TuneEnvironment, num_trials: int
) -> SweepResult:
    """What the sweep came to, with its report. Raises SparsefleetError when a trial did not end."""
    store, interrupted = around.store, around.interruption.requested
    missing = num_trials - len({*pending.ended, *around.watch.ended_here})
    if interrupted:
        around.watch.interrupted()
    elif missing:
        raise SparsefleetError(
            f"{missing} trials of {store.sweep_id} did not end, and Tune does not say why; "
            f"`sparsefleet sweep {store.folder} --resume` runs them"
        )
    else:
        shutil.rmtree(store.folder / "tune", ignore_errors=True)
    report_sweep(store, plan.objective)
    return result_of(store, plan.objective, store.trials(), num_trials, interrupted=interrupted)


def _deliver_again(
    store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending], tracker: SweepTracker
) -> None:
    """What a kill kept from MLflow of runs that had ended."""
    for folder, status in undelivered(store, trials, ended):
        run = RunStore(folder)
        tracker.start(run_info(run, ExperimentConfig.parse(run.config())))
        tracker.end(run.run_id, MLFLOW_STATUS[status], RunSummary.read(folder / "summary.json"))


def _sweep_info(plan: SweepPlan, store: SweepStore) -> RunInfo:
    about, config = store.about(), plan.config
    asked = {
        f"sweep.{key}": value for key, value in about["request"].items() if key not in ("config", "overrides")
    }
    dimensions = {f"dimension.{key}": value for key, value in about["dimensions"].items()}
    return RunInfo(
        run_id=store.sweep_id,
        run_dir=str(store.folder),
        uri=tracking_uri(config),
        experiment=config.tracking.experiment,
        artifact_root=None,
        run_name=store.sweep_id,
        params=public_params(put_values(plan.base, {}))
        | {k: str(v) for k, v in (asked | dimensions).items()},
        tags={
            "mlflow.user": user_name(),
            "sweep": store.sweep_id,
            "space": plan.space.name,
            "objective": plan.objective.text,
            "git_commit": about.get("git_commit") or "unknown",
        },
        flush_timeout_s=config.tracking.flush_timeout_s,
    )


def _numbers(result: SweepResult) -> dict[str, Any]:
    best = result.best
    return {
        "num_trials": result.num_trials,
        "num_finished": result.num_finished,
        "num_stopped": result.num_stopped,
        "num_failed": result.num_failed,
        **({} if best is None else {"best": best.label, **(best.objective or {})}),
    }
