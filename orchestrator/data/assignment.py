"""Who owns which training sample: one function per kind of split, each giving int64[N] with -1 for unused.

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

Int64 = NDArray[np.int64]
Assignment = Callable[[Dataset, PartitionConfig, int, Generator], Int64]

_MAX_TRIES = 1000
_MAX_DRAWS = 20_000_000  # numbers drawn over all tries, so that a large population is refused in seconds


def iid(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Shuffled samples in K parts whose sizes differ by at most one."""
    return _deal(even_sizes(len(dataset.train_labels), num_clients), rng)


def quantity(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Shuffled samples; each client has `min_samples` and a share ~ Dir(alpha) of the rest."""
    rest = len(dataset.train_labels) - num_clients * config.min_samples
    return _deal(config.min_samples + cut(dirichlet_shares(config.alpha, num_clients, 1, rng)[0], rest), rng)


def shards(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Samples sorted by class (shuffled inside) in shards; each client takes `classes_per_client` of them.

    The pathological split of FedAvg (arXiv:1602.05629) and FedDST (arXiv:2112.09824, 400 clients with 2
    shards of 20). A shard may straddle two classes, and a client's shards may be of one class. Without
    `shard_size` all samples are used, in shards whose sizes differ by at most one.
    """
    num_samples = len(dataset.train_labels)
    wanted = num_clients * config.classes_per_client
    if config.classes_per_client > dataset.num_classes:
        _refuse(
            "classes_per_client",
            config.classes_per_client,
            f"there are {dataset.num_classes} classes",
            "take fewer",
        )
    size = config.shard_size or num_samples // wanted
    if config.shard_size and num_samples // size < wanted:
        _refuse(
            "shard_size",
            size,
            f"{num_clients} clients with {config.classes_per_client} shards need {wanted} of them, "
            f"{num_samples} training samples make {num_samples // size}",
            "make the shards smaller, or ask for fewer clients or shards per client",
        )
    if size * config.classes_per_client < config.min_samples:
        _refuse(
            "min_samples",
            config.min_samples,
            f"{num_samples} training samples in {wanted} shards give a client "
            f"{size * config.classes_per_client} samples",
            "ask for fewer clients, or larger shards",
        )
    order, _ = group_rows(dataset.train_labels, dataset.num_classes, rng)
    sizes = np.full(num_samples // size, size) if config.shard_size else even_sizes(num_samples, wanted)
    client_of_shard = np.full(len(sizes), -1, dtype=np.int64)
    client_of_shard[rng.permutation(len(sizes))[:wanted]] = np.repeat(
        np.arange(num_clients), config.classes_per_client
    )
    owner = np.full(num_samples, -1, dtype=np.int64)
    owner[order[: int(sizes.sum())]] = np.repeat(client_of_shard, sizes)
    return owner


def dirichlet(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Each class is cut by p_c ~ Dir(alpha * 1_K); redrawn as a whole until every client has `min_samples`.

    FedDST's CIFAR-100 split (arXiv:2112.09824), without the off-by-one of its code and shuffled inside the
    class. The number of draws is bounded.
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
        _refuse(
            "alpha",
            config.alpha,
            f"in {num_tries} draws for {num_clients} clients the smallest client never had more than {best} "
            f"training samples, data.partition.min_samples={config.min_samples}",
            "raise it, ask for fewer clients, or use data.partition.kind=balanced_dirichlet",
        )
    order, _ = group_rows(dataset.train_labels, dataset.num_classes, rng)
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.repeat(np.tile(np.arange(num_clients), dataset.num_classes), counts.ravel())
    return owner


def natural(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """The data's own clients; of those with `min_samples` training samples and a test sample, K at random.

    Clients keep the order of their ids.
    """
    ids, test_ids = dataset.train_client_ids, dataset.test_client_ids
    if ids is None:
        _refuse(
            "kind", "natural", "the data has no client ids", "set data.client_column, or use another kind"
        )
    if test_ids is None:
        _refuse("kind", "natural", "the test part has no client ids", "add them, or leave the test part out")
    sizes = np.bincount(ids)
    test_sizes = np.bincount(test_ids[test_ids >= 0], minlength=len(sizes))
    eligible = np.flatnonzero((sizes >= config.min_samples) & (test_sizes > 0))
    if num_clients > len(eligible):
        raise PartitionError(
            "fleet.num_clients",
            num_clients,
            f"of {len(sizes)} clients in the data {len(eligible)} have data.partition.min_samples="
            f"{config.min_samples} training samples and a test sample",
            f"ask for at most {len(eligible)}",
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


def _deal(sizes: Int64, rng: Generator) -> Int64:
    owner = np.empty(int(sizes.sum()), dtype=np.int64)
    owner[rng.permutation(len(owner))] = np.repeat(np.arange(len(sizes)), sizes)
    return owner


def _refuse(key: str, value: object, problem: str, remedy: str) -> NoReturn:
    raise PartitionError(f"data.partition.{key}", value, problem, remedy)
