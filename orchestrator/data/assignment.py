"""Assigns the training samples to clients, with one function for each kind of partition.

Each function returns the client of every sample, int64[N]. -1 marks a sample that no client uses.

Legend: N = training samples, K = clients, C = classes.
"""

from collections.abc import Callable
from typing import NoReturn

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.balanced_dirichlet import balanced_dirichlet
from orchestrator.data.dataset import Dataset
from orchestrator.data.grouping import cut, even_sizes, group_rows
from orchestrator.data.shares import dirichlet_shares
from orchestrator.errors import PartitionError
from orchestrator.formatting import counted

Int64 = NDArray[np.int64]
Assignment = Callable[[Dataset, PartitionConfig, int, Generator], Int64]

_MAX_TRIES = 1000
_MAX_DRAWS = 20_000_000  # random numbers over all tries, so that a large population is rejected in seconds


def iid(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Assign shuffled samples to K clients; the numbers of samples differ by at most one."""
    return _assign_shuffled(even_sizes(len(dataset.train_labels), num_clients), rng)


def quantity(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Assign shuffled samples: each client gets `min_samples` and a share ~ Dir(alpha) of the rest."""
    rest = len(dataset.train_labels) - num_clients * config.min_samples
    sizes = config.min_samples + cut(dirichlet_shares(config.alpha, num_clients, 1, rng)[0], rest)
    return _assign_shuffled(sizes, rng)


def shards(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Cut the samples, sorted by class, into shards; each client gets `classes_per_client` random shards.

    This is the pathological partition of FedAvg (arXiv:1602.05629) and FedDST (arXiv:2112.09824, 400 clients with 2
    shards of 20). Samples are shuffled inside a class. A shard may contain samples of two classes, and the shards of
    a client may have the same class. Without `shard_size` the shards contain all samples, and their sizes differ by
    at most one.
    """
    num_samples = len(dataset.train_labels)
    num_shards = num_clients * config.classes_per_client
    if config.classes_per_client > dataset.num_classes:
        _reject(
            "classes_per_client",
            config.classes_per_client,
            f"the data has {counted(dataset.num_classes, 'class', 'classes')}",
            "use a smaller number",
        )
    size = config.shard_size or num_samples // num_shards
    if config.shard_size and num_samples // size < num_shards:
        _reject(
            "shard_size",
            size,
            f"{counted(num_clients, 'client')} with {counted(config.classes_per_client, 'shard')} each need "
            f"{num_shards} in total, but {counted(num_samples, 'training sample')} give {num_samples // size}",
            "use smaller shards, fewer clients, or fewer shards per client",
        )
    if size * config.classes_per_client < config.min_samples:
        _reject(
            "min_samples",
            config.min_samples,
            f"{counted(num_samples, 'training sample')} in {counted(num_shards, 'shard')} give a client "
            f"{counted(size * config.classes_per_client, 'sample')}",
            "use fewer clients, or larger shards",
        )
    order, _ = group_rows(dataset.train_labels, dataset.num_classes, rng)
    sizes = np.full(num_samples // size, size) if config.shard_size else even_sizes(num_samples, num_shards)
    client_of_shard = np.full(len(sizes), -1, dtype=np.int64)
    client_of_shard[rng.permutation(len(sizes))[:num_shards]] = np.repeat(
        np.arange(num_clients), config.classes_per_client
    )
    owner = np.full(num_samples, -1, dtype=np.int64)
    owner[order[: int(sizes.sum())]] = np.repeat(client_of_shard, sizes)
    return owner


def dirichlet(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Divide each class by random shares p_c ~ Dir(alpha * 1_K).

    The function repeats with new shares of all classes until every client has `min_samples`. The number of tries is
    bounded. This is FedDST's partition of CIFAR-100 (arXiv:2112.09824), but samples are shuffled inside a class, and
    the off-by-one error of FedDST's code is corrected.
    """
    class_sizes = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
    num_tries = min(max(_MAX_DRAWS // (num_clients * dataset.num_classes), 10), _MAX_TRIES)
    best = -1
    for _ in range(num_tries):
        shares = dirichlet_shares(config.alpha, num_clients, dataset.num_classes, rng)
        counts = np.stack([cut(s, int(n)) for s, n in zip(shares, class_sizes, strict=True)])  # [C, K]
        smallest = int(counts.sum(axis=0).min())
        if smallest >= config.min_samples:
            break
        best = max(best, smallest)
    else:
        _reject(
            "alpha",
            config.alpha,
            f"in {counted(num_tries, 'try', 'tries')} with {counted(num_clients, 'client')}, the smallest client had "
            f"at most {counted(best, 'training sample')}, but data.partition.min_samples={config.min_samples}",
            "use a larger alpha, fewer clients, or data.partition.kind=balanced_dirichlet",
        )
    order, _ = group_rows(dataset.train_labels, dataset.num_classes, rng)
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.repeat(np.tile(np.arange(num_clients), dataset.num_classes), counts.ravel())
    return owner


def natural(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Use the data's own clients: K random clients with `min_samples` training samples and a test sample.

    The clients have the order of their ids.
    """
    ids, test_ids = dataset.train_client_ids, dataset.test_client_ids
    if ids is None:
        _reject(
            "kind", "natural", "the data has no client ids", "set data.client_column, or use another kind"
        )
    if test_ids is None:
        remedy = "add client ids to the test part, or remove the test part"
        _reject("kind", "natural", "the test part has no client ids", remedy)
    sizes = np.bincount(ids)
    test_sizes = np.bincount(test_ids[test_ids >= 0], minlength=len(sizes))
    eligible = np.flatnonzero((sizes >= config.min_samples) & (test_sizes > 0))
    if num_clients > len(eligible):
        raise PartitionError(
            "fleet.num_clients",
            num_clients,
            f"the data has {counted(len(sizes), 'client')}; the number with a test sample and at least "
            f"data.partition.min_samples={config.min_samples} training samples is {len(eligible)}",
            f"use at most {counted(len(eligible), 'client')}",
        )
    client_of_id = np.full(len(sizes), -1, dtype=np.int64)
    client_of_id[np.sort(rng.choice(eligible, num_clients, replace=False))] = np.arange(num_clients)
    return client_of_id[ids]


ASSIGNMENTS: dict[str, Assignment] = {
    "iid": iid,
    "shards": shards,
    "dirichlet": dirichlet,
    "balanced_dirichlet": balanced_dirichlet,
    "quantity": quantity,
    "natural": natural,
}


def _assign_shuffled(sizes: Int64, rng: Generator) -> Int64:
    """Assign random samples to clients so that client k gets `sizes[k]` samples."""
    owner = np.empty(int(sizes.sum()), dtype=np.int64)
    owner[rng.permutation(len(owner))] = np.repeat(np.arange(len(sizes)), sizes)
    return owner


def _reject(key: str, value: object, problem: str, remedy: str) -> NoReturn:
    raise PartitionError(f"data.partition.{key}", value, problem, remedy)
