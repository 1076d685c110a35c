"""Loads the data sets and partitions of a sweep once, and shares them with all trials through Ray's object store."""

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import ray

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.data.registry import load_dataset
from orchestrator.errors import ActorsLostError, one_line
from orchestrator.execution.ray_actors import get_unwrapped, once_free, this_node
from orchestrator.execution.ray_sharing import SharedSamples
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import split_samples
from orchestrator.plugins.loading import current_places, relocated
from orchestrator.plugins.ray_checked_actor import actor_class

#: partitions that the cache keeps for later trials; Ray keeps partitions in use independently of the cache
MAX_PARTITIONS = 64


@final
class DatasetCache:
    """An actor that loads each data set once and computes each partition of a data set once."""

    def __init__(self, home: str) -> None:
        """`home` is the folder that relative paths in configs refer to."""
        os.chdir(home)
        self._datasets: dict[str, ray.ObjectRef[Dataset]] = {}
        self._partitions: OrderedDict[str, ray.ObjectRef[Partition]] = OrderedDict()

    def samples(self, config: ExperimentConfig, places: Mapping[str, Path]) -> SharedSamples:
        """Return the samples of a config. `places` are other places of users' files, as in `relocated`.

        Raises ConfigError, DataError or PartitionError when loading or partitioning fails.
        """
        with relocated(places):
            return self._samples(config)

    def _samples(self, config: ExperimentConfig) -> SharedSamples:
        data = config.data.model_dump(mode="json")
        split_config = data.pop("partition"), data.pop("validation_fraction")
        dataset_key = json.dumps(data, sort_keys=True)
        if dataset_key not in self._datasets:
            self._datasets[dataset_key] = ray.put(load_dataset(config.data))
        partition_key = json.dumps(
            [
                dataset_key,
                split_config,
                config.fleet.num_clients,
                config.fleet.unseen_clients,
                config.seed,
            ],
            sort_keys=True,
        )
        if partition_key not in self._partitions:
            dataset: Dataset = ray.get(self._datasets[dataset_key])
            self._partitions[partition_key] = ray.put(split_samples(dataset, config))
            if len(self._partitions) > MAX_PARTITIONS:
                self._partitions.popitem(last=False)
        self._partitions.move_to_end(partition_key)
        return SharedSamples(self._datasets[dataset_key], self._partitions[partition_key])

    def counts(self) -> tuple[int, int]:
        """Return the numbers of data sets and of partitions in the cache."""
        return len(self._datasets), len(self._partitions)


def start_dataset_cache(name: str, home: str) -> Any:
    """Start the dataset cache of a sweep as an actor with this name; `home` as in `DatasetCache`."""
    options = {"name": name, "num_cpus": 0, "scheduling_strategy": this_node()}
    return once_free(lambda: actor_class(DatasetCache).options(**options).remote(home))


def shared_samples(name: str, config: ExperimentConfig) -> SharedSamples:
    """Return the samples of a config from the dataset cache with this name.

    Raises DataError or PartitionError when loading or partitioning fails, and ActorsLostError when the cache is lost.
    """
    actor = "the actor that loads the data"
    try:
        dataset_cache: Any = ray.get_actor(name)
    except ValueError as error:
        raise ActorsLostError(f"{actor} is lost ({one_line(error)})") from error
    # the actor does not know the users' modules, and the samples do not depend on the method
    plain = config.model_copy(update={"algorithm": AlgorithmConfig(name="fedavg")})
    samples: SharedSamples = get_unwrapped(dataset_cache.samples.remote(plain, current_places()), actor)
    return samples
