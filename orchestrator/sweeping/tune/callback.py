"""Records, tracks and displays the events of a sweep, when trials start, report or end."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from ray.tune import Callback, Stopper

from orchestrator.errors import RequestError
from orchestrator.execution.placement import Capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.formatting import counted
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.runtime.run_folder import mention_ray_log, run_info
from orchestrator.storage.event_log import num_committed
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.display import SweepDisplay
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import Ending, EndStatus, SweepStore
from orchestrator.sweeping.trial_run import is_complete, summarise_unfinished
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.causes import cause_of, is_actor_loss, read_error_file
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.stateless_pickle import StatelessPickle
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.record import committed_records
from orchestrator.tracking.tracker import Status as TrackedStatus

#: status of an ended trial -> status of its MLflow run
MLFLOW_STATUS: Mapping[EndStatus, TrackedStatus] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
#: Tune's statuses of trials that have not ended and do not run
_WAITING = frozenset({"PENDING", "PAUSED"})


@final
class SweepCallback(StatelessPickle, Callback):
    """The callback that Tune calls in the sweep's process, for all passes of the sweep.

    A pass is one call of Tune's `fit`. In these cases, the callback ends the pass, and the next pass plans the trials
    on the present cluster:

    - A trial lost its actors and no trial runs any more.
    - A trial of a population lost its actors; the other trials of the population wait for this trial.
    - All remaining trials wait, and a node for which the pass was planned is missing.
    """

    def __init__(
        self,
        store: SweepStore,
        objective: Objective,
        tracker: SweepTracker,
        display: SweepDisplay,
        stopper: "SweepStopper",
        node_monitor: NodeMonitor,
        *,
        is_population: bool = False,
    ) -> None:
        """`is_population` says whether all trials wait for one another, as in population-based training.

        The attribute `problem` is the first error in the callback itself, which stops the sweep; None without an error.
        """
        self.problem: Exception | None = None
        self._ended_in_process: set[int] = set()
        self._store, self._objective, self._stopper = store, objective, stopper
        self._node_monitor, self._is_population = node_monitor, is_population
        self._tracker, self._display = tracker, display
        self._runs: dict[int, str] = {}
        self._restart_counters: defaultdict[int, RestartCounter] = defaultdict(RestartCounter)
        self._lost_trials: set[int] = set()
        self._endings = store.endings()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show the trial. Stops the sweep if MLflow has rejected the sweep's run."""
        with self._errors_stop_sweep():
            self._tracker.check()
            self._display.update(_number(trial), 0)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Track the trial's new rounds. The run may be a new one, which continues from another trial's model."""
        with self._errors_stop_sweep():
            number, run_id = _number(trial), str(result["run_id"])
            self._follow(number, run_id)
            self._tracker.advance(run_id, result["round"] - 1)
            self._display.update(number, result["round"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the ending of a trial that did all its rounds or that the scheduler stopped."""
        with self._errors_stop_sweep():
            run_id = str(trial.last_result["run_id"])
            finished = is_complete(self._store.folder / run_id)
            if not finished:
                summarise_unfinished(self._store.folder / run_id)
            ending = Ending(
                number=_number(trial),
                status="finished" if finished else "stopped",
                run_id=run_id,
                cause="",
                objective={
                    metric.name: float(trial.last_result[metric.name]) for metric in self._objective.metrics
                },
                values=trial.config["trial"]["values"],
            )
            self._end(ending)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that a trial failed or lost its actors. The other trials continue."""
        with self._errors_stop_sweep():
            number, error_text = _number(trial), read_error_file(trial)
            is_retried = is_actor_loss(error_text) and self._record_loss(number, cause_of(error_text))
            if not is_retried:
                self._fail(number, trial.config["trial"]["values"], error_text)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the pass if trials must move to another pass and no running trial would be disturbed."""
        with self._errors_stop_sweep():
            statuses = {trial.status for trial in trials}
            any_running = "RUNNING" in statuses
            if self._lost_trials and (self._is_population or not any_running):
                self._stopper.pass_is_over = True
                return
            all_waiting = not any_running and not statuses.isdisjoint(_WAITING)
            if missing := self._node_monitor.missing_nodes(all_waiting=all_waiting):
                self._display.note(
                    f"trials wait for nodes that have left the cluster ({', '.join(missing)}); "
                    "the sweep places these trials again"
                )
                self._stopper.pass_is_over = True

    def reject_trial(self, spec: TrialSpec, error: RequestError) -> None:
        """Record a trial as failed because its config is invalid or does not fit into the cluster."""
        with self._errors_stop_sweep():
            self._fail(spec.number, spec.values, f"{type(error).__name__}: {error}")

    def summarise_interrupted(self) -> None:
        """Write the summaries of the runs that have not ended, and mark their MLflow runs as killed."""
        for number, run_id in self._runs.items():
            if number not in self._ended_in_process:
                summary = summarise_unfinished(self._store.folder / run_id)
                self._tracker.end(run_id, "KILLED", summary)

    @contextmanager
    def _errors_stop_sweep(self) -> Iterator[None]:
        """Store the first error and stop the sweep. Tune would print a traceback instead."""
        try:
            yield
        except Exception as error:
            self.problem = self.problem or error
            self._stopper.request()

    def start_pass(self, capacity: Capacity) -> None:
        """Prepare for another pass, planned for the present cluster: no trial is lost and no trial runs."""
        self._lost_trials.clear()
        self._stopper.pass_is_over = False
        self._node_monitor.plan(capacity)
        self._display.clear_running()

    @property
    def needs_another_pass(self) -> bool:
        """Whether trials must continue in another pass, because they lost their actors or a node left the cluster."""
        return bool(self._lost_trials) or self._stopper.pass_is_over

    def _record_loss(self, number: int, cause: str) -> bool:
        """Record that a trial lost its actors, and return whether the sweep retries the trial."""
        folder = self._store.run_folder(number)
        num_rounds = num_committed(folder) if is_run(folder) else 0
        self._store.add_loss(number, num_rounds, cause)
        if not self._restart_counters[number].record_loss(num_rounds):
            return False
        self._lost_trials.add(number)
        self._display.lose_actors(number, f"{cause}{mention_ray_log(self._store.folder)}")
        return True

    def _fail(self, number: int, values: Mapping[str, Any], error_text: str) -> None:
        """Record that a trial failed. A trial with a complete run counts as finished, even if its actor died later."""
        folder = self._store.run_folder(number)
        has_run, done = is_run(folder), is_complete(folder)
        if has_run:
            self._follow(number, folder.name)
        if has_run and not done:
            summarise_unfinished(folder)
        ending = Ending(
            number=number,
            status="finished" if done else "failed",
            run_id=folder.name if has_run else None,
            cause="" if done else cause_of(self._store.add_failure(number, error_text)),
            objective=self._objective.measure(committed_records(folder)) if done else {},
            values=values,
        )
        self._end(ending)

    def _follow(self, number: int, run_id: str) -> None:
        before = self._runs.get(number)
        if before == run_id:
            return
        if before is not None:
            self._tracker.end(before, "KILLED", summarise_unfinished(self._store.folder / before))
        self._runs[number] = run_id
        run = RunStore(self._store.folder / run_id)
        self._tracker.start(run_info(run, ExperimentConfig.parse(run.config())))

    @property
    def ended_in_process(self) -> frozenset[int]:
        """The numbers of the trials that ended in this process."""
        return frozenset(self._ended_in_process)

    def _end(self, ending: Ending) -> None:
        self._store.add_ending(ending)
        self._ended_in_process.add(ending.number)
        if ending.status != "failed":
            self._store.remove_failure(ending.number)
        self._endings[ending.number] = ending
        if ending.run_id is not None:
            summary = RunSummary.read(self._store.folder / ending.run_id / "summary.json")
            self._tracker.end(ending.run_id, MLFLOW_STATUS[ending.status], summary)
            if summary.num_not_finite:
                where = f"{summary.num_not_finite} of {counted(summary.num_rounds, 'round')}"
                self._display.note(f"{ending.run_id}: evaluations are not finite in {where}")
        metrics = sweep_metrics(self._endings, self._objective, self._store.num_losses())
        self._tracker.log(self._store.add_record(metrics))
        self._display.end(TrialSpec(number=ending.number, values=ending.values), ending)


@final
class SweepStopper(StatelessPickle, Stopper):
    """Stops the sweep on request, or a single pass. Stopped trials are not recorded as ended.

    Tune gives a trial some seconds to finish its step. A trial that does not finish in time has its last checkpoint.
    """

    def __init__(self) -> None:
        self.requested = self.pass_is_over = False

    def request(self) -> None:
        """Request the end of the sweep."""
        self.requested = True

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: this stopper never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether Tune must stop all trials, because the sweep or the pass ends."""
        return self.requested or self.pass_is_over


def sweep_metrics(endings: Mapping[int, Ending], objective: Objective, num_losses: int) -> dict[str, float]:
    """Return the sweep's metrics: numbers of ended trials, losses of actors, and the best value of the first metric."""
    metric = objective.metrics[0]
    counts = {
        f"sweep/num_{status}": float(sum(ending.status == status for ending in endings.values()))
        for status in ("finished", "stopped", "failed")
    } | {"sweep/num_losses": float(num_losses)}
    values = [ending.objective[metric.name] for ending in endings.values() if metric.name in ending.objective]
    best = {f"sweep/best_{metric.name}": min(values, key=metric.key)} if values else {}
    return counts | best


def _number(trial: Any) -> int:
    """Return the number of a trial, which is Tune's name for the trial (see `trial_name`)."""
    return int(str(trial))
