"""Configures Ray Tune for a sweep and runs the trials: searcher, scheduler and placement groups."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import lcm
from pathlib import Path
from typing import Any, final

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.search.basic_variant import BasicVariantGenerator

from orchestrator.errors import RequestError
from orchestrator.execution.placement import Capacity
from orchestrator.plugins.package_source import package_source
from orchestrator.sweeping.plan import SweepPlan
from orchestrator.sweeping.resources import ClusterDivision, divide_cluster, trial_footprint
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper
from orchestrator.sweeping.tune.schedulers import RoundBudget, make_scheduler
from orchestrator.sweeping.tune.search import RecordedSearch
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.sweeping.tune.trial import (
    TrialSetting,
    TrialTask,
    TuneTrial,
    trial_name,
)
from orchestrator.tracking.record import committed_records

#: turns off Tune's own loggers, state and messages, because every trial is a run with its own logs and checkpoints
_TUNE_VARIABLES = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
#: Tune's logger of failed trials; the sweep reports failed trials itself, with their causes
_NOISY_LOGGER = "ray.tune.tune"
#: checkpoints that Tune keeps of each trial; population-based training starts other trials from these checkpoints
_NUM_CHECKPOINTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingTrials:
    """The trials that the sweep must still run.

    - `trials`: trials that are known before Tune starts.
    - `recorded`, `ended`: all recorded trials and the endings so far; an adaptive search replays them.
    """

    trials: Sequence[TrialSpec]
    recorded: Sequence[TrialSpec]
    ended: Mapping[int, Ending]


def division_of_cluster(plan: SweepPlan, num_trials: int, capacity: Capacity) -> ClusterDivision:
    """Divide the cluster among the trials. All trials of a population run at the same time."""
    max_concurrent = num_trials if plan.request.scheduler == "pbt" else plan.request.max_concurrent
    return divide_cluster(capacity, num_trials, max_concurrent)


class TrialFactory:
    """Creates the task of a trial for Tune, with the resources that the trial reserves."""

    def __init__(self, plan: SweepPlan, capacity: Capacity, division: ClusterDivision) -> None:
        self._plan, self._capacity, self._division = plan, capacity, division
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._node_resource = f"node:{address}"

    def __call__(self, spec: TrialSpec) -> dict[str, Any]:
        """Return the task as plain values.

        Raises ResourceError for a trial that does not fit into the cluster, and ConfigError for a trial without the
        samples that the objective needs.
        """
        config = spec.config(self._plan.base)
        self._plan.objective.require_data(config.data)
        footprint = trial_footprint(config, self._capacity, self._division, self._node_resource)
        return TrialTask.of(spec, footprint).to_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneEnvironment:
    """The folder, resources, actors and callbacks of a sweep that runs.

    `dataset_cache` is the name of the actor that loads the data. `home` is the folder that relative paths in configs
    refer to.
    """

    store: SweepStore
    make_task: TrialFactory
    division: ClusterDivision
    dataset_cache: str
    home: str
    tracker: SweepTracker
    callback: SweepCallback
    stopper: SweepStopper


def fit(plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment) -> None:
    """Run the remaining trials. Returns when all of them have ended, or when the stopper has ended the pass.

    Raises RequestError for a trial in `remaining.trials` that does not fit into the cluster.
    """
    setting = TrialSetting(
        sweep_dir=str(environment.store.folder),
        base=plan.base,
        objective=plan.request.objective,
        dataset_cache=environment.dataset_cache,
        mutable=plan.mutable,
        replay=plan.request.scheduler != "pbt",
        home=environment.home,
        package=package_source(),
    )
    scheduler = make_scheduler(
        plan.request, plan.objective, _round_budget(plan, remaining, environment.store), plan.space.mutations
    )
    params, search = (
        _adaptive_search(plan, remaining, environment)
        if plan.is_adaptive
        else _known_trials(plan, remaining, environment)
    )
    with (
        _disabled_logger(_NOISY_LOGGER),
        _unsent_cloud_keys(),
        _environment_variables(
            {**_TUNE_VARIABLES, "TUNE_MAX_PENDING_TRIALS_PG": str(environment.division.concurrent)}
        ),
    ):
        tuner = tune.Tuner(
            TuneTrial,
            param_space={"sweep": asdict(setting), **params},
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=plan.request.samples * plan.request.seeds if plan.is_adaptive else 1,
                max_concurrent_trials=environment.division.concurrent if plan.is_adaptive else None,
                reuse_actors=True,
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=_run_config(environment),
        )
        tuner.fit()


def _round_budget(plan: SweepPlan, remaining: RemainingTrials, store: SweepStore) -> RoundBudget:
    trainings = [trial.config(plan.base).training for trial in remaining.trials] or [plan.config.training]
    return RoundBudget(
        rounds=max(training.rounds for training in trainings),
        eval_every=lcm(*(training.eval_every for training in trainings)),
        num_done=max(
            (len(committed_records(store.run_folder(trial.number))) for trial in remaining.trials), default=0
        ),
    )


def _adaptive_search(
    plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment
) -> tuple[dict[str, Any], Any]:
    """Return an empty parameter space and the searcher that suggests the trials."""
    search = RecordedSearch(
        plan.request,
        plan.objective,
        plan.dimensions,
        base_seed=plan.seed,
        record=environment.store.add_trials,
        make_task=environment.make_task,
        reject=environment.callback.reject_trial,
        recorded=remaining.recorded,
        endings=remaining.ended,
    )
    return {}, search


def _known_trials(
    plan: SweepPlan, remaining: RemainingTrials, environment: TuneEnvironment
) -> tuple[dict[str, Any], Any]:
    """Return all trials as a single dimension, because population-based training accepts no searcher."""
    tasks = [environment.make_task(trial) for trial in remaining.trials]
    is_population = plan.request.scheduler == "pbt"
    if is_population and any(task["bundles"] != tasks[0]["bundles"] for task in tasks):
        problem = "the trials reserve different resources, but population-based training moves actors between trials"
        raise RequestError(
            "--scheduler", "pbt", problem, "use one fleet and one clients_per_round for all trials"
        )
    limit = 0 if is_population else environment.division.concurrent
    return {"trial": tune.grid_search(tasks)}, BasicVariantGenerator(max_concurrent=limit)


def _run_config(environment: TuneEnvironment) -> tune.RunConfig:
    files = environment.store.folder / "tune"
    return tune.RunConfig(
        name=_unused_name(files),
        storage_path=str(files),
        callbacks=[environment.callback],
        stop=environment.stopper,
        verbose=0,
        progress_reporter=SilentReporter(),
        failure_config=tune.FailureConfig(max_failures=0),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=_NUM_CHECKPOINTS, checkpoint_at_end=False),
    )


@final
class SilentReporter(tune.ProgressReporter):
    """Reports nothing: Tune's own reporter for notebooks clears the output of the cell, whatever `verbose` is."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """See tune.ProgressReporter."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """See tune.ProgressReporter."""


def _unused_name(folder: Path) -> str:
    """Return an unused name for Tune's files of this pass, so that Tune does not read files of an earlier pass."""
    folder.mkdir(exist_ok=True)
    return f"pass-{sum(1 for _ in folder.iterdir())}"


@contextmanager
def _disabled_logger(name: str) -> Iterator[None]:
    """Disable the logger inside the block."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _unsent_cloud_keys() -> Iterator[None]:
    """Keep Tune from sending the user's AWS keys to the trials: Ray writes what it sends there to its log."""
    before = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in before if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = before


@contextmanager
def _environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for Tune inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
