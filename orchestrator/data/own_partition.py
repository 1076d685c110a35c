"""Assigns the training samples to clients by a user's function, which `data.partition.kind` names by its file."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.dataset import Dataset
from orchestrator.errors import PartitionError, RequestError
from orchestrator.formatting import counted
from orchestrator.plugins.loading import load_object

_KEY = "data.partition.kind"


def assign_own(
    dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator
) -> NDArray[np.int64]:
    """Call `function(dataset, num_clients, rng, **data.partition.options)`.

    The function returns the client of every training sample, integers [N] from 0 to K - 1; -1 marks a sample that no
    client uses. `rng` is the run's stream for partitions; a function that uses no other randomness is repeatable.

    Raises ConfigError when the function cannot be loaded, and PartitionError when it raises, returns something else, or
    gives a client fewer samples than `data.partition.min_samples`.
    """
    function = load_object(config.kind, _KEY)
    if not callable(function):
        problem = f"it is a {type(function).__name__}, not a function"
        raise PartitionError(_KEY, config.kind, problem, "name a function (dataset, num_clients, rng)")
    try:
        owner = np.asarray(function(dataset, num_clients, rng, **config.options))
    except RequestError:
        raise
    except Exception as error:
        problem = f"the function raised {type(error).__name__}: {error}"
        remedy = "correct the function or data.partition.options"
        raise PartitionError(_KEY, config.kind, problem, remedy) from error
    _check(config, owner, len(dataset.train_labels), num_clients)
    return owner.astype(np.int64)


def _check(config: PartitionConfig, owner: NDArray[np.generic], num_samples: int, num_clients: int) -> None:
    if owner.shape != (num_samples,) or owner.dtype.kind not in "iu":
        problem = f"the function returned {owner.dtype}{owner.shape} for {counted(num_samples, 'sample')}"
        raise PartitionError(_KEY, config.kind, problem, "return one integer for each training sample")
    least, largest = int(owner.min()), int(owner.max())
    if least < -1 or largest >= num_clients:
        problem = f"the function returned clients from {least} to {largest}"
        remedy = f"return clients from 0 to {num_clients - 1}, or -1 for a sample that no client uses"
        raise PartitionError(_KEY, config.kind, problem, remedy)
    sizes = np.bincount(owner.astype(np.int64) + 1, minlength=num_clients + 1)[1:]
    if (fewest := int(sizes.min())) < config.min_samples:
        problem = f"client {int(sizes.argmin())} has {counted(fewest, 'training sample')}"
        remedy = f"give each client {config.min_samples} or more, or change data.partition.min_samples"
        raise PartitionError(_KEY, config.kind, problem, remedy)
