"""Execute the remaining trials of a sweep: plan the passes of Ray Tune, and track and report the sweep."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

from orchestrator.atomic_write import write_durably
from orchestrator.config.overrides import flatten
from orchestrator.errors import ConfigError, RequestError, SparsefleetError, TrackingError
from orchestrator.execution.placement import Capacity
from orchestrator.execution.ray_actors import end_actors
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.formatting import counted
from orchestrator.processes.signals import handling_signals
from orchestrator.runtime.ray_head_monitor import exiting_when_head_is_lost, is_client_connection
from orchestrator.runtime.ray_log import ray_log
from orchestrator.runtime.ray_session import dashboard_note, ray_session, require_cluster, session_note
from orchestrator.runtime.run_execution import ABANDON_S
from orchestrator.runtime.run_folder import (
    public_params,
    run_info,
)
from orchestrator.runtime.tracking.description import source_tags
from orchestrator.runtime.tracking.setup import (
    experiment_name,
    tracking_uri,
)
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.display import SweepDisplay
from orchestrator.sweeping.plan import SweepPlan
from orchestrator.sweeping.report import report_sweep
from orchestrator.sweeping.result import SweepResult, read_result
from orchestrator.sweeping.resumption import (
    final_endings,
    remaining_trials,
    undelivered_runs,
)
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.callback import MLFLOW_STATUS, SweepCallback, SweepStopper
from orchestrator.sweeping.tune.dataset_cache import start_dataset_cache
from orchestrator.sweeping.tune.fit import (
    RemainingTrials,
    TrialFactory,
    TuneEnvironment,
    division_of_cluster,
    fit,
)
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.presentation.run_page import Description
from orchestrator.tracking.record import RunInfo


def execute_sweep(
    plan: SweepPlan, store: SweepStore, display: SweepDisplay, verbose: bool, place: str
) -> SweepResult:
    """Run the remaining trials on Ray, and write and return the result. The caller has locked the sweep's folder.

    `place` is the line that says where the sweep is tracked.
    """
    config = plan.config
    resume_command = store.resume_command
    require_cluster(config.runtime)
    _require_cluster_node(config.runtime.address)
    if line := session_note(config.runtime):
        display.note(line)
    with (
        handling_signals(config.runtime.grace_period_s, redeliver=True) as signals,
        nullcontext() if verbose else ray_log(store.folder),
        ray_session(config.runtime, verbose=verbose),
        exiting_when_head_is_lost(config.runtime.address, resume_command),
    ):
        _require_cluster_node(config.runtime.address)  # a user's program may be connected through Ray Client
        if line := dashboard_note(config.runtime):
            display.note(line)
        recorded = store.trials()
        ended = final_endings(store, recorded, plan.objective, plan.base)
        remaining = RemainingTrials(
            trials=remaining_trials(store, recorded, ended), recorded=recorded, ended=ended
        )
        environment = _set_up(plan, store, remaining, display)
        display.note(place)
        started_s = time.perf_counter()
        try:
            with signals.finishing(environment.stopper.request, "stopping the trials") as work:
                result = _run_trials(plan, remaining, environment, display)
                work.message = "the trials have ended; waiting for MLflow"
                return _deliver(result, environment, display, started_s)
        except KeyboardInterrupt:
            display.note(f"stopped at once; resume with `{resume_command}`")
            environment.tracker.abandon(ABANDON_S)
            raise


def _deliver(
    result: SweepResult, environment: TuneEnvironment, display: SweepDisplay, started_s: float
) -> SweepResult:
    """Wait for MLflow, and write and return the result with its times. Raises TrackingError for missing records."""
    store, tracker = environment.store, environment.tracker
    if tracker.is_on:
        display.note("writing to MLflow")
    tracker.finish("KILLED" if result.interrupted else "FINISHED", _final_metrics(result))
    problem = tracker.close()
    wall_s = time.perf_counter() - started_s
    result = replace(result, wall_s=wall_s, tracking_s=tracker.spent_s)
    write_durably(store.folder / "summary.json", result.to_json().encode())
    if problem:
        raise TrackingError(f"{problem} (the sweep itself is complete: {store.folder})")
    return result


def _set_up(
    plan: SweepPlan, store: SweepStore, remaining: RemainingTrials, display: SweepDisplay
) -> TuneEnvironment:
    """Plan the trials on the cluster, and start the tracker. Raises ResourceError for a trial that does not fit."""
    num_trials = _num_trials(plan, remaining.recorded)
    capacity = cluster_capacity()
    division = division_of_cluster(plan, max(1, num_trials - len(remaining.ended)), capacity)
    make_task = TrialFactory(plan, capacity, division)
    for trial in () if plan.is_adaptive else remaining.trials:
        make_task(trial)
    display.note(f"{store.sweep_id}: {counted(num_trials, 'trial')}, {division.concurrent} at a time")
    info = _sweep_info(plan, store) if plan.config.tracking.enabled else None
    tracker = SweepTracker(store.sweep_id, info, display.note)
    stopper = SweepStopper()
    callback = SweepCallback(
        store,
        plan.objective,
        tracker,
        display,
        stopper,
        NodeMonitor(capacity, plan.config.runtime.restart_timeout_s),
        is_population=plan.request.scheduler == "pbt",
    )
    return TuneEnvironment(
        store=store,
        make_task=make_task,
        division=division,
        dataset_cache=f"{store.sweep_id}/data",
        home=os.getcwd(),
        tracker=tracker,
        callback=callback,
        stopper=stopper,
    )


def _run_trials(
    plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment, display: SweepDisplay
) -> SweepResult:
    """Run the remaining trials and write the report. On an error, mark the sweep as failed in MLflow."""
    store, tracker = environment.store, environment.tracker
    num_trials = _num_trials(plan, remaining.recorded)
    try:
        _deliver_missing_runs(store, remaining.recorded, remaining.ended, tracker)
        _fit_with_display(plan, remaining, environment, display, num_trials)
        for line in store.data_notes():
            display.note(line)
        return _conclude(plan, remaining, environment, num_trials)
    except Exception:
        with suppress(SparsefleetError):
            environment.callback.summarise_interrupted()
        if problem := tracker.fail():
            display.note(problem)
        raise


def _require_cluster_node(address: str | None) -> None:
    """Reject Ray Client: Tune, the sweep's folder and the trials' drivers must be on the node of the command."""
    if (address or "").startswith("ray://") or is_client_connection():
        problem = "a sweep must run on a node of its cluster, not through Ray Client"
        remedy = "run `sparsefleet submit --address http://HEAD:8265 sweep ...` with runtime.address=auto"
        raise ConfigError("runtime.address", address, problem, remedy)


def _num_trials(plan: SweepPlan, recorded: Sequence[TrialSpec]) -> int:
    """Return the number of trials of the whole sweep, including those that a search has not suggested yet."""
    return plan.request.samples * plan.request.seeds if plan.is_adaptive else len(recorded)


def _fit_with_display(
    plan: SweepPlan,
    remaining: RemainingTrials,
    environment: TuneEnvironment,
    display: SweepDisplay,
    num_trials: int,
) -> None:
    """Run the remaining trials on Tune, and show the progress.

    The trials need several passes if trials lose their actors or wait for a node that left the cluster.
    """
    if len(remaining.ended) >= num_trials:
        return
    display.start(environment.store.sweep_id, num_trials, len(remaining.ended))
    try:
        if not environment.stopper.requested:
            _run_pass(plan, remaining, environment)
        while environment.callback.needs_another_pass and not environment.stopper.requested:
            left, environment = plan_next_pass(plan, remaining, environment, cluster_capacity())
            if left.trials or plan.is_adaptive:
                _run_pass(plan, left, environment)
    finally:
        display.stop()
    if environment.callback.problem is not None:
        raise environment.callback.problem


def _run_pass(plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment) -> None:
    """Run one pass of Tune together with the actor that loads the data."""
    dataset_cache = start_dataset_cache(environment.dataset_cache, environment.home)
    try:
        fit(plan, remaining, environment)
    finally:
        end_actors([dataset_cache])


def plan_next_pass(
    plan: SweepPlan, first: RemainingTrials, environment: TuneEnvironment, capacity: Capacity
) -> tuple[RemainingTrials, TuneEnvironment]:
    """Plan the trials that have not ended on the present cluster. `first` is what the first pass had to run.

    A trial that does not fit into the cluster any more is recorded as failed.
    """
    store, callback = environment.store, environment.callback
    callback.start_pass(capacity)
    recorded = store.trials()
    ended_numbers = {*first.ended, *callback.ended_in_process}
    left = [trial for trial in recorded if trial.number not in ended_numbers]
    for trial in left:
        store.mark_superseded(trial.number)
    division = division_of_cluster(plan, max(1, _num_trials(plan, recorded) - len(ended_numbers)), capacity)
    environment = replace(environment, make_task=TrialFactory(plan, capacity, division), division=division)
    trials = []
    for trial in remaining_trials(store, left, {}):
        try:
            environment.make_task(trial)
        except RequestError as error:
            callback.reject_trial(trial, error)
        else:
            trials.append(trial)
    ended_numbers |= callback.ended_in_process
    ended = {number: ending for number, ending in store.endings().items() if number in ended_numbers}
    return RemainingTrials(trials=trials, recorded=recorded, ended=ended), environment


def _conclude(
    plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment, num_trials: int
) -> SweepResult:
    """Write the report and return the result. Raises SparsefleetError when a trial has no ending."""
    store, interrupted = environment.store, environment.stopper.requested
    missing = num_trials - len({*remaining.ended, *environment.callback.ended_in_process})
    if interrupted:
        environment.callback.summarise_interrupted()
    elif missing:
        raise SparsefleetError(
            f"{counted(missing, 'trial')} of {store.sweep_id} did not end, and Tune gives no cause; "
            f"resume with `{store.resume_command}`"
        )
    else:
        shutil.rmtree(store.folder / "tune", ignore_errors=True)
    report_sweep(store, plan.objective)
    return read_result(store, plan.objective, store.trials(), num_trials, interrupted=interrupted)


def _deliver_missing_runs(
    store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending], tracker: SweepTracker
) -> None:
    """Send the ended runs to MLflow that an earlier process could not deliver before it was killed."""
    for folder, status in undelivered_runs(store, trials, ended):
        run = RunStore(folder)
        tracker.start(run_info(run, ExperimentConfig.parse(run.config())))
        tracker.end(run.run_id, MLFLOW_STATUS[status], RunSummary.read(folder / "summary.json"))


def _sweep_info(plan: SweepPlan, store: SweepStore) -> RunInfo:
    about, config = store.about(), plan.config
    options = {
        f"sweep.{key}": value for key, value in about["request"].items() if key not in ("config", "overrides")
    }
    dimensions = {f"dimension.{key}": value for key, value in about["dimensions"].items()}
    tracking = config.tracking
    return RunInfo(
        run_id=store.sweep_id,
        run_dir=str(store.folder),
        uri=tracking_uri(config),
        experiment=experiment_name(config),
        artifact_root=None,
        run_name=tracking.run_name or store.sweep_id,
        params=public_params(flatten(plan.base)) | {k: str(v) for k, v in (options | dimensions).items()},
        tags={
            **source_tags(about, "sweep"),
            "sweep": store.sweep_id,
            "space": plan.space.name,
            "objective": plan.objective.text,
            **about.get("tags", {}),
            **tracking.tags,
        },
        flush_timeout_s=tracking.flush_timeout_s,
        description=Description(
            note=tracking.note or "",
            title=f"Sweep of **{plan.space.name}**: {plan.space.summary}",
            settings={
                "objective": plan.objective.text,
                "search": plan.request.search,
                **{f"`{key}`": value for key, value in about["dimensions"].items()},
            },
        ),
        system_metrics=tracking.system_metrics,
        resumption=store.resume_command,
    )


def _final_metrics(result: SweepResult) -> dict[str, Any]:
    best = result.best
    return {
        "num_trials": result.num_trials,
        "num_finished": result.num_finished,
        "num_stopped": result.num_stopped,
        "num_failed": result.num_failed,
        **({} if best is None else {"best": best.label, **(best.objective or {})}),
    }
