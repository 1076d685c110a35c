"""Selects each client's test samples, so that a personal model is tested on its client's label distribution.

Legend: K = clients, C = classes, N = training samples, T = test samples.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.data.client_index import ClientIndex
from orchestrator.data.dataset import Dataset
from orchestrator.data.grouping import group_rows, ranks

Int64 = NDArray[np.int64]

_REFERENCE_SIZE = 100  # smallest target size of a label-mix test part


def test_index(dataset: Dataset, kind: str, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """Return the test rows of each client for a kind of partition.

    `owner` is the client of each training sample, int64[N], -1 for unused samples. A client has no rows when the test
    set has no samples of the client's classes.
    """
    return _RULES.get(kind, _label_mix)(dataset, owner, num_clients, rng)


def class_counts(dataset: Dataset, owner: Int64, num_clients: int) -> Int64:
    """Return the number of training samples of each client and class, int64[K, C]."""
    cells = owner * dataset.num_classes + dataset.train_labels
    counts = np.bincount(cells[owner >= 0], minlength=num_clients * dataset.num_classes)
    return counts.reshape(num_clients, dataset.num_classes)


def _whole(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    return ClientIndex.shared(np.arange(len(dataset.test_labels)), num_clients)


def _own_labels(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """Select all test samples of a client's labels; clients with the same labels share the stored rows."""
    has_label = class_counts(dataset, owner, num_clients) > 0
    sets, set_of_client = np.unique(has_label, axis=0, return_inverse=True)
    index = ClientIndex.of_sizes(
        sets @ np.bincount(dataset.test_labels, minlength=dataset.num_classes),
        np.concatenate([np.flatnonzero(labels[dataset.test_labels]) for labels in sets]),
    )
    return ClientIndex(index.starts[set_of_client], index.stops[set_of_client], index.indices)


def _label_mix(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """Select test samples with the client's label distribution.

    For each client and class, the rows are consecutive in the class's shuffled test samples. They start at a random
    row and continue at the first row after the last row.
    """
    counts = class_counts(dataset, owner, num_clients)
    num_test = len(dataset.test_labels)
    reference = max(-(-num_test // num_clients), min(num_test, _REFERENCE_SIZE))
    order, available = group_rows(dataset.test_labels, dataset.num_classes, rng)
    sizes = np.minimum(-(-counts * reference // counts.sum(axis=1, keepdims=True)), available)  # [K, C]
    firsts = rng.integers(0, np.maximum(available, 1), size=sizes.shape)
    cells = np.repeat(np.arange(sizes.size), sizes.ravel())
    classes = cells % dataset.num_classes
    positions = (firsts.ravel()[cells] + ranks(sizes.ravel())) % available[classes]
    class_starts = np.cumsum(available) - available
    return ClientIndex.of_sizes(sizes.sum(axis=1), order[class_starts[classes] + positions])


def _own_rows(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    ids, test_ids = dataset.train_client_ids, dataset.test_client_ids
    assert ids is not None
    assert test_ids is not None
    client_of_id = np.full(int(ids.max()) + 2, -1, dtype=np.int64)  # the last entry is for id -1
    client_of_id[ids] = owner
    rows, sizes = group_rows(client_of_id[test_ids], num_clients, rng)
    return ClientIndex.of_sizes(sizes, rows)


_RULES: dict[str, Callable[[Dataset, Int64, int, Generator], ClientIndex]] = {
    "iid": _whole,
    "quantity": _whole,
    "shards": _own_labels,
    "dirichlet": _label_mix,
    "balanced_dirichlet": _label_mix,
    "natural": _own_rows,
}
