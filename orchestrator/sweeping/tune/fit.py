"""Tune at work on a sweep's trials: searcher, scheduler, placement groups."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import lcm
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search.basic_variant import BasicVariantGenerator

from orchestrator.errors import RequestError
from orchestrator.execution.placement import Capacity
from orchestrator.sweeping.plan import SweepPlan
from orchestrator.sweeping.resources import Share, share_out, trial_footprint
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper
from orchestrator.sweeping.tune.schedulers import RoundBudget, make_scheduler
from orchestrator.sweeping.tune.search import RecordedSearch
from orchestrator.sweeping.tune.trial import (
    TrialSetting,
    TrialTask,
    TuneTrial,
    trial_name,
)
from orchestrator.tracking.record import committed_records

#: Tune's own loggers, state and messages are of no use here: trials are runs, with logs and commits of their own
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
#: says which trials have not ended well; the sweep says so itself, and why
_TALKATIVE = "ray.tune.tune"
#: checkpoints of a trial that are kept, for others to begin from (population-based training)
_NUM_CHECKPOINTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingTrials:
    """What is left to do: `trials` are known beforehand; of an adaptive search, what was recorded and how it ended."""

    trials: Sequence[TrialSpec]
    recorded: Sequence[TrialSpec]
    ended: Mapping[int, Ending]


def share_of_cluster(plan: SweepPlan, num_trials: int, capacity: Capacity) -> Share:
    """How the cluster is shared out among the trials; a population lives at the same time."""
    asked = num_trials if plan.request.scheduler == "pbt" else plan.request.max_concurrent
    return share_out(capacity, num_trials, asked)


class TrialFactory:
    """Makes Tune's side of a trial, with what it reserves on the cluster."""

    def __init__(self, plan: SweepPlan, capacity: Capacity, share: Share) -> None:
        self._plan, self._capacity, self._share = plan, capacity, share
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._home = f"node:{address}"

    def __call__(self, spec: TrialSpec) -> dict[str, Any]:
        """Raises ResourceError for a trial that does not fit the cluster."""
        footprint = trial_footprint(spec.config(self._plan.base), self._capacity, self._share, self._home)
        return TrialTask.of(spec, footprint).to_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneEnvironment:
    """Where a sweep's trials run, and who is told of them."""

    store: SweepStore
    tasks: TrialFactory
    share: Share
    shelf: str
    home: str
    watch: SweepCallback
    interruption: SweepStopper


def fit(plan: SweepPlan, pending: RemainingTrials, around: TuneEnvironment) -> None:
    """Run what is pending; returns when all of it has ended, or the interruption was asked for.

    Raises a RequestError for a trial known beforehand that cannot be as it is.
    """
    setting = TrialSetting(
        sweep_dir=str(around.store.folder),
        base=plan.base,
        objective=plan.request.objective,
        shelf=around.shelf,
        mutable=plan.mutable,
        replay=plan.request.scheduler != "pbt",
        home=around.home,
    )
    scheduler = make_scheduler(
        plan.request, plan.objective, _course(plan, pending, around.store), plan.space.mutations
    )
    known, search = _adaptive(plan, pending, around) if plan.is_adaptive else _known(plan, pending, around)
    with (
        _quiet(_TALKATIVE),
        _environment({**_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(around.share.concurrent)}),
    ):
        tuner = tune.Tuner(
            TuneTrial,
            param_space={"sweep": asdict(setting), **known},
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=plan.request.samples * plan.request.seeds if plan.is_adaptive else 1,
                max_concurrent_trials=around.share.concurrent if plan.is_adaptive else None,
                reuse_actors=True,
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=_run_config(around),
        )
        tuner.fit()


def _course(plan: SweepPlan, pending: RemainingTrials, store: SweepStore) -> RoundBudget:
    trainings = [trial.config(plan.base).training for trial in pending.trials] or [plan.config.training]
    return RoundBudget(
        rounds=max(training.rounds for training in trainings),
        eval_every=lcm(*(training.eval_every for training in trainings)),
        num_done=max(
            (len(committed_records(store.run_folder(trial.number))) for trial in pending.trials), default=0
        ),
    )


def _adaptive(
    plan: SweepPlan, pending: RemainingTrials, around: TuneEnvironment
) -> tuple[dict[str, Any], Any]:
    """No trials known beforehand, and the search that makes them."""
    search = RecordedSearch(
        plan.request,
        plan.objective,
        plan.dimensions,
        base_seed=plan.seed,
        record=around.store.add_trials,
        make_task=around.tasks,
        refuse=around.watch.refuse,
        earlier=pending.recorded,
        endings=pending.ended,
    )
    return {}, search


def _known(plan: SweepPlan, pending: RemainingTrials, around: TuneEnvironment) -> tuple[dict[str, Any], Any]:
    """All trials as one dimension: population-based training takes no searcher."""
    known = [around.tasks(trial) for trial in pending.trials]
    is_population = plan.request.scheduler == "pbt"
    if is_population and any(one["bundles"] != known[0]["bundles"] for one in known):
        problem = "the trials reserve different resources, and take over one another's places"
        raise RequestError("--scheduler", "pbt", problem, "use one fleet, and the same clients_per_round")
    limit = 0 if is_population else around.share.concurrent
    return {"trial": tune.grid_search(known)}, BasicVariantGenerator(max_concurrent=limit)


def _run_config(around: TuneEnvironment) -> tune.RunConfig:
    files = around.store.folder / "tune"
    return tune.RunConfig(
        name=_fresh_name(files),
        storage_path=str(files),
        callbacks=[around.watch],
        stop=around.interruption,
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=0),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=_NUM_CHECKPOINTS, checkpoint_at_end=False),
    )


def _fresh_name(folder: Path) -> str:
    """A name for Tune's files of this pass: what an earlier one left is not read."""
    folder.mkdir(exist_ok=True)
    return f"pass-{sum(1 for _ in folder.iterdir())}"


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Nothing from that logger, for the block."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that Tune reads, set for the block."""
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
