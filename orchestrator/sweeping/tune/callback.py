"""What the sweep's own process does when a trial reports or ends: it writes it down, tells the tracker, shows it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from ray.tune import Callback, Stopper

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import RequestError
from orchestrator.execution.placement import Capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.runtime.run_folder import run_info
from orchestrator.storage.event_log import num_committed
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import Ending, EndStatus, SweepStore
from orchestrator.sweeping.trial import is_complete, summarise_unfinished
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.sweeping.tune.causes import cause_of, is_loss, what_tune_noted
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.not_pickled import NotPickled
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.record import committed_records
from orchestrator.tracking.tracker import Status as TrackedStatus

#: what MLflow calls the ways in which a trial ends
MLFLOW_STATUS: Mapping[EndStatus, TrackedStatus] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
#: what Tune calls trials that have not ended and are not at work
_WAITING = frozenset({"PENDING", "PAUSED"})


@final
class SweepCallback(NotPickled, Callback):
    """Tune calls it in the sweep's process, between two events; at most it asks Ray which nodes there are.

    It sees all passes of the sweep. When a trial has lost its actors and nothing is at work any more, or at once where
    the trials live together (a population), the pass ends: what waits may want room that went with the actors. So it
    does when all that is left waits, and a node has gone that it was planned on.
    """

    def __init__(
        self,
        store: SweepStore,
        objective: Objective,
        tracker: SweepTracker,
        display: SweepProgress,
        interruption: "SweepStopper",
        room: NodeMonitor,
        *,
        together: bool = False,
    ) -> None:
        """`room` is what the pass was planned on; `together`: a trial that is lost is waited for by the others.

        `problem` is what went wrong here and ended the sweep, by asking for the interruption; None: nothing did.
        """
        self.problem: Exception | None = None
        self._ended_here: set[int] = set()
        self._store, self._objective, self._interruption = store, objective, interruption
        self._room, self._together = room, together
        self._tracker, self._display = tracker, display
        self._runs: dict[int, str] = {}
        self._losses: defaultdict[int, RestartCounter] = defaultdict(RestartCounter)
        self._lost: set[int] = set()
        self._endings = store.endings()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has got its actor; the sweep ends if its tracker was refused meanwhile."""
        with self._ending_the_sweep():
            self._tracker.check()
            self._display.update(_number(trial), 0)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has evaluated a round; its run may be a new one, with another trial's model."""
        with self._ending_the_sweep():
            number, run_id = _number(trial), str(result["run_id"])
            self._follow(number, run_id)
            self._tracker.advance(run_id, result["round"] - 1)
            self._display.update(number, result["round"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has done all its rounds, or the scheduler has stopped it."""
        with self._ending_the_sweep():
            run_id = str(trial.last_result["run_id"])
            finished = is_complete(self._store.folder / run_id)
            if not finished:
                summarise_unfinished(self._store.folder / run_id)
            ending = Ending(
                number=_number(trial),
                status="finished" if finished else "stopped",
                run_id=run_id,
                cause="",
                objective={goal.name: float(trial.last_result[goal.name]) for goal in self._objective.goals},
                values=trial.config["trial"]["values"],
            )
            self._end(ending)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed, or lost its actors; the others go on."""
        with self._ending_the_sweep():
            number, noted = _number(trial), what_tune_noted(trial)
            if not is_loss(noted) or not self._lose(number, cause_of(noted)):
                self._fail(number, trial.config["trial"]["values"], noted)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """The pass ends where trials are to go on in another one, and nobody would be disturbed by that."""
        with self._ending_the_sweep():
            statuses = {trial.status for trial in trials}
            at_work = "RUNNING" in statuses
            if self._lost and (self._together or not at_work):
                self._interruption.pass_is_over = True
            elif gone := self._room.gone(wanted=not at_work and not statuses.isdisjoint(_WAITING)):
                self._display.note(
                    f"trials wait, and nodes that they were planned on are gone ({', '.join(gone)}): "
                    "they are placed anew"
                )
                self._interruption.pass_is_over = True

    def refuse(self, spec: TrialSpec, error: RequestError) -> None:
        """A trial that a search asked for cannot be as it is, or not any more: it has failed."""
        with self._ending_the_sweep():
            self._fail(spec.number, spec.values, f"{type(error).__name__}: {error}")

    def interrupted(self) -> None:
        """The sweep has been interrupted: the runs that have not ended are marked as such."""
        for number, run_id in self._runs.items():
            if number not in self._ended_here:
                summary = summarise_unfinished(self._store.folder / run_id)
                self._tracker.end(run_id, "KILLED", summary)

    @contextmanager
    def _ending_the_sweep(self) -> Iterator[None]:
        """What goes wrong in here ends the sweep: Tune would make a traceback of it."""
        try:
            yield
        except Exception as error:
            self.problem = self.problem or error
            self._interruption.request()

    def begin_anew(self, capacity: Capacity) -> None:
        """Another pass begins, planned on what the cluster has now: nothing is lost in it yet, and nothing at work."""
        self._lost.clear()
        self._interruption.pass_is_over = False
        self._room.plan(capacity)
        self._display.clear_running()

    @property
    def wants_another_pass(self) -> bool:
        """Whether trials are to go on in another pass, because they lost their actors or what they waited for."""
        return bool(self._lost) or self._interruption.pass_is_over

    def _lose(self, number: int, cause: str) -> bool:
        """Note that a trial has lost its actors; whether it is to go on."""
        folder = self._store.run_folder(number)
        num_rounds = num_committed(folder) if is_run(folder) else 0
        self._store.add_loss(number, num_rounds, cause)
        if not self._losses[number].record_loss(num_rounds):
            return False
        self._lost.add(number)
        self._display.lose_actors(number, cause)
        return True

    def _fail(self, number: int, values: Mapping[str, Any], noted: str) -> None:
        """Note that a trial has failed; one whose run is complete has finished, whatever became of its actor."""
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
            cause="" if done else cause_of(self._store.add_failure(number, noted)),
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
    def ended_here(self) -> frozenset[int]:
        """The trials that have ended before this watch's eyes."""
        return frozenset(self._ended_here)

    def _end(self, ending: Ending) -> None:
        self._store.add_ending(ending)
        self._ended_here.add(ending.number)
        if ending.status != "failed":
            self._store.forget_failure(ending.number)
        self._endings[ending.number] = ending
        if ending.run_id is not None:
            summary = RunSummary.read(self._store.folder / ending.run_id / "summary.json")
            self._tracker.end(ending.run_id, MLFLOW_STATUS[ending.status], summary)
            if summary.num_not_finite:
                count = f"{summary.num_not_finite} of {summary.num_rounds} rounds"
                self._display.note(f"{ending.run_id}: {count} have evaluations that are not finite")
        metrics = progress(self._endings, self._objective, self._store.num_losses())
        self._tracker.log(self._store.add_record(metrics))
        self._display.end(TrialSpec(number=ending.number, values=ending.values), ending)


@final
class SweepStopper(NotPickled, Stopper):
    """Ends a sweep when it is asked to, or one of its passes; its trials are not marked as ended.

    Tune gives a trial some seconds to come to the end of its step. One that is cut short has its last commit.
    """

    def __init__(self) -> None:
        self.requested = self.pass_is_over = False

    def request(self) -> None:
        """Ask for the end."""
        self.requested = True

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Whether the sweep is to end, or just the pass."""
        return self.requested or self.pass_is_over


def progress(endings: Mapping[int, Ending], objective: Objective, num_losses: int) -> dict[str, float]:
    """How the sweep stands: trials that have ended, losses of their actors, the best value of the first goal."""
    goal = objective.goals[0]
    counts = {
        f"sweep/num_{status}": float(sum(ending.status == status for ending in endings.values()))
        for status in ("finished", "stopped", "failed")
    } | {"sweep/num_losses": float(num_losses)}
    values = [ending.objective[goal.name] for ending in endings.values() if goal.name in ending.objective]
    best = {f"sweep/best_{goal.name}": min(values, key=goal.key)} if values else {}
    return counts | best


def _number(trial: Any) -> int:
    """Tune's name for a trial is our number, see `tune_trial.trial_name`."""
    return int(str(trial))
