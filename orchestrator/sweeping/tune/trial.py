"""The Tune trainable around TrialRun: one driver, its clients in its own placement group.

What Tune hands it, `config`, is plain: `sweep` is the same for all trials (TrialSetting), `trial` is a TrialTask.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

import ray
from ray import tune

from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import (
    START_S,
    end_actors,
    reservation,
    start_actors,
    wait_for_actors,
)
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import SharedSamples, share
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.resources import TrialResources
from orchestrator.sweeping.store import VALUES_NOTE, SweepStore
from orchestrator.sweeping.trial import RunLabels, TrialRun, open_store, take_over
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.sweeping.tune.dataset_cache import shared_samples

#: which trial a checkpoint is of, beside its run's files
_OWNER = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSetting:
    """What all trials of a sweep are told; `base` is the config tree that they begin with.

    `mutable` are the keys that population-based training may change; `replay` has a trial that goes on report its
    past first; `home` is the folder in which relative paths of the config are meant.
    """

    sweep_dir: str
    base: Mapping[str, Any]
    objective: str
    shelf: str
    mutable: tuple[str, ...]
    replay: bool
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """One trial: which, its values, and what it reserves; `actors` are (name, profile index), None in one process."""

    number: int
    values: Mapping[str, Any]
    bundles: tuple[Mapping[str, float], ...]
    actors: tuple[tuple[str, int], ...] | None
    mode: Literal["dedicated", "pooled"]

    @classmethod
    def of(cls, spec: TrialSpec, footprint: TrialResources) -> "TrialTask":
        """A trial with what it reserves."""
        placement = footprint.placement
        return cls(
            number=spec.number,
            values=spec.values,
            bundles=footprint.bundles,
            actors=None if placement is None else placement.actors,
            mode="pooled" if placement is None else placement.mode,
        )

    @property
    def placement(self) -> Placement | None:
        """Where the trial's clients live; None: in its own process."""
        if self.actors is None:
            return None
        actors = tuple((name, index) for name, index in self.actors)
        return Placement(self.mode, "in the trial's placement group", actors)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as Tune keeps them."""
        return asdict(self)


def trial_name(trial: Any) -> str:
    """What Tune calls a trial: its number, which stays when population-based training gives it another's values."""
    return f"{trial.config['trial']['number']:03d}"


@final
class TuneTrial(tune.Trainable):
    """A trial's actor, which Tune may reset for another trial that reserves the same."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The trial's bundles: its driver's first."""
        return tune.PlacementGroupFactory([dict(bundle) for bundle in config["trial"]["bundles"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the task; it begins at the first step, since a checkpoint to begin from may still come."""
        self._setting = TrialSetting(**config["sweep"])
        self._task = TrialTask(**config["trial"])
        self._run: TrialRun | None = None
        self._clients: tuple[str, list[Any]] | None = None
        os.chdir(self._setting.home)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to another trial, which may take this one's client actors over."""
        self._close_run()
        clients = self._clients
        self.setup(new_config)
        self._clients = clients
        return True

    def step(self) -> dict[str, Any]:
        """One evaluation further."""
        if self._run is None:
            self._run = self._begin()
        return self._run.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Everything that another trial needs to go on from here."""
        assert self._run is not None, "Tune asks for a checkpoint after a step"
        self._run.snapshot(Path(checkpoint_dir))
        (Path(checkpoint_dir) / _OWNER).write_text(self.trial_name)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from another trial's checkpoint in a new run; from an own one, in the run that is there."""
        assert isinstance(checkpoint, str), "this trainable's checkpoints are folders"
        if (Path(checkpoint) / _OWNER).read_text() != self.trial_name:
            self._take_over(Path(checkpoint))
        self._run = self._begin(replay=False)

    def cleanup(self) -> None:
        """Release the trial's run and the client actors."""
        self._close_run()
        self._end_clients()

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None

    @property
    def _number(self) -> int:
        return int(self.trial_name)

    def _begin(self, *, replay: bool | None = None) -> TrialRun:
        store = SweepStore(Path(self._setting.sweep_dir))
        experiment, samples = self._prepared()
        folder = store.run_folder(self._number)
        run_store = open_store(experiment, folder, self._labels())
        return TrialRun(
            experiment,
            run_store,
            lambda: self._executor(experiment, samples),
            Objective.parse(self._setting.objective),
            replay=self._setting.replay if replay is None else replay,
        )

    def _take_over(self, checkpoint: Path) -> None:
        """Make the run in which this trial goes on with another one's model, and mark the one it had."""
        store = SweepStore(Path(self._setting.sweep_dir))
        experiment, _ = self._prepared()
        folder = store.next_run_folder(self._number)
        shutil.rmtree(folder, ignore_errors=True)
        take_over(checkpoint, experiment, folder, self._labels(), self._setting.mutable)
        store.mark_superseded(self._number)

    def _prepared(self) -> tuple[Experiment, SharedSamples]:
        config = self._config()
        samples = shared_samples(self._setting.shelf, config)
        return prepare(config, samples.get()), samples

    def _config(self) -> ExperimentConfig:
        return self._spec().config(self._setting.base)

    def _spec(self) -> TrialSpec:
        return TrialSpec(number=self._number, values=self._task.values)

    def _labels(self) -> RunLabels:
        spec = self._spec()
        tags = {
            "sweep": Path(self._setting.sweep_dir).name,
            "trial": str(spec.number),
            "configuration": spec.configuration,
        }
        return RunLabels(name=spec.name, tags=tags, notes={VALUES_NOTE: dict(spec.values)})

    def _executor(self, experiment: Experiment, samples: SharedSamples) -> Executor:
        placement = self._task.placement
        if placement is None:
            return InProcessExecutor(experiment)
        cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        shared, clients = share(experiment, samples), self._client_actors(experiment, placement)
        return RayExecutor(experiment, shared, placement, clients, num_cores=max(1, int(cores)))

    def _client_actors(self, experiment: Experiment, placement: Placement) -> list[Any]:
        """This actor's client actors: those of its last trial, where that one reserved the same."""
        profiles = experiment.setting.profiles
        wanted = repr([(name, reservation(profiles[index])) for name, index in placement.actors])
        if self._clients is not None and self._clients[0] == wanted:
            return self._clients[1]
        self._end_clients()
        prefix = f"{Path(self._setting.sweep_dir).name}/{os.getpid()}"
        self._clients = wanted, start_actors(profiles, placement, prefix)
        wait_for_actors(self._clients[1], START_S)
        return self._clients[1]

    def _end_clients(self) -> None:
        if self._clients is not None:
            clients, self._clients = self._clients[1], None
            end_actors(clients)
