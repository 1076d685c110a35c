"""Data sets and splits of a sweep's trials: loaded once, kept in the object store, read in place by all."""

import json
import os
from collections import OrderedDict
from typing import Any, final

import ray

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.data.registry import load_dataset
from orchestrator.errors import ActorsLostError, one_line
from orchestrator.execution.ray_actors import get_unwrapped, once_free, this_node
from orchestrator.execution.ray_sharing import SharedSamples
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import split_samples

#: splits that are kept for trials to come; those in use stay while they are
MAX_SPLITS = 64


@final
class DatasetCache:
    """The actor that loads. It has one copy of each data set, and of each split of it."""

    def __init__(self, home: str) -> None:
        """`home` is the folder in which relative paths of configs are meant."""
        os.chdir(home)
        self._datasets: dict[str, ray.ObjectRef[Dataset]] = {}
        self._splits: OrderedDict[str, ray.ObjectRef[Partition]] = OrderedDict()

    def samples(self, config: ExperimentConfig) -> SharedSamples:
        """Those of a config. Raises DataError or PartitionError when they cannot be made."""
        data = config.data.model_dump(mode="json")
        of_split = data.pop("partition"), data.pop("validation_fraction")
        which = json.dumps(data, sort_keys=True)
        if which not in self._datasets:
            self._datasets[which] = ray.put(load_dataset(config.data))
        split = json.dumps([which, of_split, config.fleet.num_clients, config.seed], sort_keys=True)
        if split not in self._splits:
            dataset: Dataset = ray.get(self._datasets[which])
            self._splits[split] = ray.put(split_samples(dataset, config))
            if len(self._splits) > MAX_SPLITS:
                self._splits.popitem(last=False)
        self._splits.move_to_end(split)
        return SharedSamples(self._datasets[which], self._splits[split])

    def counts(self) -> tuple[int, int]:
        """Data sets and splits that are kept."""
        return len(self._datasets), len(self._splits)


def start_shelf(name: str, home: str) -> Any:
    """The sweep's shelf, under a name that its trials find it by; `home` as in Shelf."""
    options = {"name": name, "num_cpus": 0, "scheduling_strategy": this_node()}
    return once_free(lambda: ray.remote(DatasetCache).options(**options).remote(home))


def shared_samples(name: str, config: ExperimentConfig) -> SharedSamples:
    """What the shelf of that name has for a config. Raises what loading it raises, ActorsLostError without a shelf."""
    who = "the actor that loads the data"
    try:
        shelf: Any = ray.get_actor(name)
    except ValueError as error:
        raise ActorsLostError(f"{who} is lost ({one_line(error)})") from error
    samples: SharedSamples = get_unwrapped(shelf.samples.remote(config), who)
    return samples
