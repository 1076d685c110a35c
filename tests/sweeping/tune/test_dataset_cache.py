"""The data of a sweep: one copy of each data set and of each partition, for all trials."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.config.overrides import put_values
from orchestrator.errors import ActorsLostError, DataError
from orchestrator.execution.ray_actors import end_actors
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.tune.dataset_cache import shared_samples, start_dataset_cache

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def cache() -> Iterator[Any]:
    """The actor of a cache with the name `data-cache`."""
    actor = start_dataset_cache("data-cache", str(Path.cwd()))
    yield actor
    end_actors([actor])


def _config(**values: Any) -> ExperimentConfig:
    return ExperimentConfig.parse(put_values({}, {k.replace("__", "."): v for k, v in values.items()}))


def test_data_and_partition_are_loaded_once_for_all_trials(cache: Any) -> None:
    """Four trials: two differ in the learning rate only, one in the seed, one in the partition."""
    configs = [
        _config(training__lr=0.1),
        _config(training__lr=0.2),
        _config(seed=1),
        _config(data__partition__alpha=5.0),
    ]
    refs = [shared_samples("data-cache", config) for config in configs]
    assert len({ref.dataset for ref in refs}) == 1
    assert refs[0].partition == refs[1].partition
    assert len({ref.partition for ref in refs}) == 3
    assert ray.get(cache.counts.remote()) == (1, 3)
    dataset, partition = refs[2].get()
    assert not dataset.train_inputs.flags.writeable, "the array is a copy"
    assert partition.num_clients == configs[2].fleet.num_clients


def test_error_of_the_data_reaches_the_trial(cache: Any, tmp_path: Path) -> None:
    config = _config(data__name="npz", data__root=str(tmp_path / "no.npz"), model__name="mlp")
    with pytest.raises(DataError) as caught:
        shared_samples("data-cache", config)
    assert caught.value.field == "data.root"
    assert ray.get(cache.counts.remote()) == (0, 0)


def test_lost_cache_is_a_lost_actor() -> None:
    with pytest.raises(ActorsLostError):
        shared_samples("no-cache", _config(seed=0))
