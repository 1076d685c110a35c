"""An experiment in Ray's object store, in parts: its data and its split may be shared with other experiments."""

from dataclasses import dataclass

import ray

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.experiment.experiment import Experiment, ExperimentSpec, with_samples
from orchestrator.models.plugin import shipped_modules


@dataclass(frozen=True, slots=True, eq=False)
class SharedSamples:
    """References to a data set and to a split of it; each node holds one copy, however many processes read it."""

    dataset: ray.ObjectRef[Dataset]
    partition: ray.ObjectRef[Partition]

    def get(self) -> tuple[Dataset, Partition]:
        """Both, with their arrays read in place."""
        dataset, partition = ray.get([self.dataset, self.partition])
        return dataset, partition


@dataclass(frozen=True, slots=True, eq=False)
class SharedExperiment:
    """References to the parts of an experiment."""

    recipe: ray.ObjectRef[ExperimentSpec]
    samples: SharedSamples

    def get(self) -> Experiment:
        """The whole experiment, with the arrays of its samples read in place."""
        return with_samples(ray.get(self.recipe), *self.samples.get())


def share(experiment: Experiment, samples: SharedSamples | None = None) -> SharedExperiment:
    """Put an experiment into the object store; `samples` are its own, where they are there already.

    Modules that were loaded from a user's files are shipped by value.
    """
    for module in shipped_modules():
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    if samples is None:
        samples = SharedSamples(ray.put(experiment.dataset), ray.put(experiment.partition))
    return SharedExperiment(ray.put(experiment.spec), samples)
