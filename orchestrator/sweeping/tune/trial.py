"""The Tune trainable that runs a trial: one driver with its client actors in one placement group.

Tune's `config` has two entries with plain values: `sweep` is the TrialSetting of all trials, `trial` is a TrialTask.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from ray import tune

from orchestrator.aggregation.shard_placement import AGGREGATION_NOTE, AggregatorPlacement
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_sharing import SharedSamples
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.plugins.loading import relocated
from orchestrator.plugins.package_source import PackageSource, require_same_source
from orchestrator.storage.sources import require_unchanged, stored_places
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.resources import TrialResources
from orchestrator.sweeping.store import VALUES_NOTE, SweepStore
from orchestrator.sweeping.trial_run import RunLabels, TrialRun, begin_from_snapshot, open_store
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.client_actors import TrialClients
from orchestrator.sweeping.tune.dataset_cache import shared_samples

#: file of a checkpoint that contains the name of the trial that wrote the checkpoint
_OWNER = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSetting:
    """The settings that all trials of a sweep share.

    - `base`: config tree that all trials start from.
    - `objective`: text of the sweep's objective.
    - `dataset_cache`: name of the actor that loads the data.
    - `mutable`: keys that population-based training may change.
    - `replay`: whether a resumed trial first reports its earlier evaluations.
    - `home`: folder that relative paths in the config refer to.
    - `package`: place and digest of the command's source (see PackageSource).
    """

    sweep_dir: str
    base: Mapping[str, Any]
    objective: str
    dataset_cache: str
    mutable: tuple[str, ...]
    replay: bool
    home: str
    package: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """One trial for Tune: its number, its values and the resources that it reserves.

    `actors` lists the client actors as (name, profile index); None means that the clients train in the trial's process.
    """

    number: int
    values: Mapping[str, Any]
    bundles: tuple[Mapping[str, float], ...]
    actors: tuple[tuple[str, int], ...] | None
    mode: Literal["dedicated", "pooled"]

    @classmethod
    def of(cls, spec: TrialSpec, footprint: TrialResources) -> "TrialTask":
        """Create the task of a trial with these resources."""
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
        """The client actors of the trial; None when the clients train in the trial's process."""
        if self.actors is None:
            return None
        actors = tuple((name, index) for name, index in self.actors)
        return Placement(self.mode, "in the trial's placement group", actors)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which Tune can store."""
        return asdict(self)


def trial_name(trial: Any) -> str:
    """Return Tune's name for a trial: its number, which population-based training does not change."""
    return f"{trial.config['trial']['number']:03d}"


@final
class TuneTrial(tune.Trainable):
    """The actor of a trial. Tune may reset the actor for another trial that reserves the same resources."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the placement group of the trial; the first bundle is the driver's."""
        return tune.PlacementGroupFactory([dict(bundle) for bundle in config["trial"]["bundles"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Store the task. The run opens at the first step, because Tune may load a checkpoint before."""
        self._setting = TrialSetting(**config["sweep"])
        require_same_source(PackageSource(*self._setting.package))
        self._task = TrialTask(**config["trial"])
        self._run: TrialRun | None = None
        self._clients = TrialClients(Path(self._setting.sweep_dir).name)
        os.chdir(self._setting.home)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Switch to another trial, and keep the client actors for this trial to reuse."""
        self._close_run()
        clients = self._clients
        self.setup(new_config)
        self._clients = clients
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next evaluation and return the result."""
        if self._run is None:
            self._run = self._open_run()
        return self._run.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save everything that another trial needs to continue from this point."""
        assert self._run is not None, "Tune asks for a checkpoint after a step"
        self._run.snapshot(Path(checkpoint_dir))
        (Path(checkpoint_dir) / _OWNER).write_text(self.trial_name)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint: of this trial in its current run, of another trial in a new run."""
        assert isinstance(checkpoint, str), "this trainable's checkpoints are folders"
        if (Path(checkpoint) / _OWNER).read_text() != self.trial_name:
            self._begin_from_checkpoint(Path(checkpoint))
        self._run = self._open_run(replay=False)

    def cleanup(self) -> None:
        """Close the trial's run and end the client actors."""
        self._close_run()
        self._clients.end()

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None

    @property
    def _number(self) -> int:
        return int(self.trial_name)

    def _open_run(self, *, replay: bool | None = None) -> TrialRun:
        store = SweepStore(Path(self._setting.sweep_dir))
        experiment, samples = self._prepared()
        objective = Objective.parse(self._setting.objective)
        objective.require_data(experiment.config.data, len(experiment.partition.validation.indices))
        replay = self._setting.replay if replay is None else replay
        return TrialRun(
            experiment,
            open_store(experiment, store.run_folder(self._number), self._labels()),
            lambda: self._clients.executor(experiment, samples, self._task.placement),
            objective.measure,
            num_reported=0 if replay else None,
        )

    def _begin_from_checkpoint(self, checkpoint: Path) -> None:
        """Create a run that continues from another trial's checkpoint, and mark the earlier run as superseded."""
        store = SweepStore(Path(self._setting.sweep_dir))
        experiment, _ = self._prepared()
        folder = store.next_run_folder(self._number)
        shutil.rmtree(folder, ignore_errors=True)
        begin_from_snapshot(checkpoint, experiment, folder, self._labels(), self._setting.mutable)
        store.mark_superseded(self._number)

    def _prepared(self) -> tuple[Experiment, SharedSamples]:
        folder = Path(self._setting.sweep_dir)
        about = SweepStore(folder).about()
        with relocated(stored_places(folder, about)):
            config = self._config()
            samples = shared_samples(self._setting.dataset_cache, config)
            experiment = prepare(config, samples.get())
        require_unchanged(folder, about, experiment.sources)
        return experiment, samples

    def _config(self) -> ExperimentConfig:
        return self._spec().config(self._setting.base)

    def _spec(self) -> TrialSpec:
        return TrialSpec(number=self._number, values=self._task.values)

    def _labels(self) -> RunLabels:
        spec = self._spec()
        given = SweepStore(Path(self._setting.sweep_dir)).about().get("tags", {})
        tags = {
            **{tag: value for tag, value in given.items() if not tag.startswith("mlflow.")},
            "sweep": Path(self._setting.sweep_dir).name,
            "trial": str(spec.number),
            "configuration": spec.configuration,
        }
        added = AggregatorPlacement(0, "a trial of a sweep has no aggregators")
        notes = {VALUES_NOTE: dict(spec.values), AGGREGATION_NOTE: str(added)}
        return RunLabels(name=spec.name, tags=tags, notes=notes)
