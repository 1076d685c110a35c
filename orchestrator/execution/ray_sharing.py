"""Puts an experiment into Ray's object store, in parts, so that experiments can share data and partition."""

from dataclasses import dataclass, replace

import ray

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.experiment.experiment import Experiment, ExperimentSpec, with_samples
from orchestrator.plugins.importer import add_sources, shipped_modules
from orchestrator.plugins.source_files import SourceFiles


@dataclass(frozen=True, slots=True, eq=False)
class SharedSamples:
    """References to a data set and its partition. All processes of a node read one copy."""

    dataset: ray.ObjectRef[Dataset]
    partition: ray.ObjectRef[Partition]

    def get(self) -> tuple[Dataset, Partition]:
        """The data set and the partition; their arrays are not copied."""
        dataset, partition = ray.get([self.dataset, self.partition])
        return dataset, partition


@dataclass(frozen=True, slots=True, eq=False)
class SharedExperiment:
    """References to the parts of an experiment."""

    recipe: ray.ObjectRef[ExperimentSpec]
    samples: SharedSamples
    sources: tuple[SourceFiles, ...]

    def get(self) -> Experiment:
        """The whole experiment; the arrays of its samples are not copied."""
        for sources in self.sources:  # functions of users' files may import neighbours when they run
            add_sources(sources)
        return with_samples(ray.get(self.recipe), *self.samples.get())


def share(experiment: Experiment, samples: SharedSamples | None = None) -> SharedExperiment:
    """Put an experiment into the object store. `samples` are its data, if they are in the store already.

    Ray sends modules from users' files by value. The traces of a fleet stay in this process.
    """
    for module in shipped_modules():
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    if samples is None:
        samples = SharedSamples(ray.put(experiment.dataset), ray.put(experiment.partition))
    code = {section: files for section, files in experiment.sources.items() if section != "fleet"}
    spec = replace(experiment.spec, sources=code)
    return SharedExperiment(ray.put(spec), samples, tuple(code.values()))
