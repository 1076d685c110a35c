"""An experiment as a trainable for a user's own `tune.Tuner`. Every trial is a run with its own folder."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ray
from ray import tune

from orchestrator.config.overrides import put_values
from orchestrator.errors import ResourceError
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.prepare import prepare
from orchestrator.plugins.package_source import PackageSource, package_source, require_same_source
from orchestrator.runtime.run_folder import has_config
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.inline import inline_overrides
from orchestrator.sweeping.resources import ClusterDivision, TrialResources, trial_footprint
from orchestrator.sweeping.store import VALUES_NOTE
from orchestrator.sweeping.trial_run import (
    RunLabels,
    TrialRun,
    begin_from_snapshot,
    is_complete,
    open_store,
    summarise_unfinished,
)
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.client_actors import TrialClients
from orchestrator.tracking.record import RoundRecord, committed_records

#: file of a checkpoint that names the trial and the run that wrote the checkpoint
_OWNER = "owner.json"


class ExperimentTrainable(tune.Trainable):
    """The actor of a trial; `make_trainable` creates subclasses with the attributes below.

    - `base`: config tree that all trials start from.
    - `num_actors`: number of client actors of a trial.
    - `home`: folder that relative paths in the config refer to.
    - `package`: place and digest of the source of the Tuner's process.
    """

    base: ClassVar[Mapping[str, Any]]
    num_actors: ClassVar[int]
    home: ClassVar[str]
    package: ClassVar[tuple[str, str]]

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the placement group of the trial. Raises RequestError for an invalid config of the trial."""
        return tune.PlacementGroupFactory([dict(bundle) for bundle in cls._resources(config).bundles])

    def setup(self, config: dict[str, Any]) -> None:
        """Check the trial's config. The run opens at the first step, because Tune may load a checkpoint before."""
        require_same_source(PackageSource(*self.package))
        os.chdir(self.home)
        self._values = inline_overrides(config)
        self._experiment_config = self._spec().config(self.base)
        self._footprint = self._resources(config)
        self._check_reservation()
        self._folder = self._storage_folder() / self._stem()
        self._run: TrialRun | None = None
        self._clients = TrialClients(self._stem())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Switch to another trial, and keep the client actors for this trial to reuse."""
        self._close_run()
        clients = self._clients
        self.setup(new_config)
        self._clients = clients
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next evaluation, and return the fields of the run's summary so far."""
        if self._run is None:
            self._run = self._open_run(num_reported=0)
        result = self._run.step()
        if result["done"]:
            result |= _without_none(RunSummary.read(self._folder / "summary.json").to_dict())
        return {**result, "run_folder": str(self._folder)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save everything that this or another trial needs to continue from this point."""
        assert self._run is not None, "Tune asks for a checkpoint after a step"
        self._run.snapshot(Path(checkpoint_dir))
        owner = {"trial": self.trial_id, "run": self._folder.name}
        (Path(checkpoint_dir) / _OWNER).write_text(json.dumps(owner))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint: of this trial in its run, of another trial or config in a new run."""
        assert isinstance(checkpoint, str), "this trainable's checkpoints are folders"
        self._close_run()
        owner = json.loads((Path(checkpoint) / _OWNER).read_text())
        num_rounds = len(committed_records(Path(checkpoint)))
        folder = self._storage_folder() / owner["run"]
        is_own = owner["trial"] == self.trial_id and is_run(folder)
        if is_own and has_config(RunStore(folder), self._experiment_config):
            self._folder = folder
        else:
            self._begin_from_checkpoint(Path(checkpoint))
        self._run = self._open_run(num_reported=min(num_rounds, len(committed_records(self._folder))))

    def cleanup(self) -> None:
        """Close the trial's run and end the client actors."""
        self._close_run()
        self._clients.end()

    @classmethod
    def _resources(cls, config: Mapping[str, Any]) -> TrialResources:
        spec = TrialSpec(number=0, values=inline_overrides(config))
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        division = ClusterDivision(1, cls.num_actors)
        return trial_footprint(spec.config(cls.base), cluster_capacity(), division, f"node:{address}")

    def _check_reservation(self) -> None:
        """Reject resources that the user reserves for a trial whose client actors do not fit into them."""
        reserved = self.trial_resources
        expected = [dict(bundle) for bundle in self._footprint.bundles]
        if self._footprint.placement is None or reserved is None or reserved.bundles == expected:
            return
        problem = "the trial's client actors need the placement group that the trainable requests"
        remedy = "leave out tune.with_resources, and use trainable(base, actors=N) for N client actors"
        raise ResourceError("tune.with_resources", reserved.bundles, problem, remedy)

    def _open_run(self, *, num_reported: int) -> TrialRun:
        experiment = prepare(self._experiment_config)
        store = open_store(experiment, self._folder, self._labels())

        def measure(records: Sequence[RoundRecord]) -> dict[str, Any]:
            summary = RunSummary.of(self._experiment_config, store, records, None, False)
            return _without_none(summary.to_dict())

        return TrialRun(
            experiment,
            store,
            lambda: self._clients.executor(experiment, None, self._footprint.placement),
            measure,
            num_reported=num_reported,
        )

    def _begin_from_checkpoint(self, checkpoint: Path) -> None:
        """Create a run that continues from the checkpoint, and mark the trial's earlier runs as superseded."""
        experiment, storage = prepare(self._experiment_config), self._storage_folder()
        earlier = [folder for folder in storage.glob(f"{self._stem()}*") if is_run(folder)]
        self._folder = storage / (f"{self._stem()}-g{len(earlier)}" if earlier else self._stem())
        shutil.rmtree(self._folder, ignore_errors=True)
        begin_from_snapshot(checkpoint, experiment, self._folder, self._labels(), None)
        for folder in earlier:
            store = RunStore(folder)
            store.describe_again({**store.about(), "superseded_by": self._folder.name})

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
            if not is_complete(self._folder):
                summarise_unfinished(self._folder)

    def _storage_folder(self) -> Path:
        return self._experiment_config.runtime.storage

    def _stem(self) -> str:
        """The name of the trial's first run: the method and Tune's id of the trial."""
        method = self._experiment_config.algorithm.name.rpartition(":")[2].lower()
        return f"{method}-{self.trial_id}"

    def _spec(self) -> TrialSpec:
        return TrialSpec(number=0, values=self._values)

    def _labels(self) -> RunLabels:
        tags = {"tune_trial": str(self.trial_id), "configuration": self._spec().configuration}
        return RunLabels(name=self._spec().name, tags=tags, notes={VALUES_NOTE: dict(self._values)})


def make_trainable(base: ExperimentConfig | Mapping[str, Any], actors: int) -> type[tune.Trainable]:
    """Create the trainable of `orchestrator.trainable`, with the current folder for relative paths."""
    if isinstance(base, ExperimentConfig):
        # the options of one method must not be in the trials of another method, so defaults are left out
        tree = base.model_dump(mode="json", exclude_unset=True)
    else:
        tree = put_values({}, inline_overrides(base))
    storage = ExperimentConfig.parse(tree).runtime.storage.resolve()
    attributes = {
        "base": put_values(tree, {"runtime.storage": str(storage), "tracking.enabled": False}),
        "num_actors": actors,
        "home": os.getcwd(),
        "package": tuple(package_source()),
        "__doc__": "A Sparsefleet experiment.",
    }
    # the same name for all bases, which Tuner.restore compares
    return type("sparsefleet", (ExperimentTrainable,), attributes)


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the values that were not measured, because Tune compares metrics as numbers."""
    return {name: value for name, value in fields.items() if value is not None}
