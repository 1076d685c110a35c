"""Each client's share of the test samples, so that a personal model is tested on its own label mix.

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

_REFERENCE_SIZE = 100  # a label-mix test part aims at no fewer samples than this


def test_index(dataset: Dataset, kind: str, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """Test rows of each client for a kind of split; `owner` is int64[N], -1 for unused training samples.

    A client may get no row where the test set lacks its classes.
    """
    return _RULES[kind](dataset, owner, num_clients, rng)


def class_counts(dataset: Dataset, owner: Int64, num_clients: int) -> Int64:
    """int64[K, C]: training samples of each class that each client owns."""
    cells = owner * dataset.num_classes + dataset.train_labels
    counts = np.bincount(cells[owner >= 0], minlength=num_clients * dataset.num_classes)
    return counts.reshape(num_clients, dataset.num_classes)


def _whole(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    return ClientIndex.shared(np.arange(len(dataset.test_labels)), num_clients)


def _held_labels(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """All test samples of the labels held; clients with the same set of labels share one stretch."""
    held = class_counts(dataset, owner, num_clients) > 0
    sets, set_of_client = np.unique(held, axis=0, return_inverse=True)
    index = ClientIndex.of_sizes(
        sets @ np.bincount(dataset.test_labels, minlength=dataset.num_classes),
        np.concatenate([np.flatnonzero(labels[dataset.test_labels]) for labels in sets]),
    )
    return ClientIndex(index.starts[set_of_client], index.stops[set_of_client], index.indices)


def _label_mix(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    """Per client and class a stretch, from a random place and round, of the class's shuffled test samples."""
    counts = class_counts(dataset, owner, num_clients)
    num_test = len(dataset.test_labels)
    reference = max(-(-num_test // num_clients), min(num_test, _REFERENCE_SIZE))
    order, available = group_rows(dataset.test_labels, dataset.num_classes, rng)
    wanted = np.minimum(-(-counts * reference // counts.sum(axis=1, keepdims=True)), available)  # [K, C]
    firsts = rng.integers(0, np.maximum(available, 1), size=wanted.shape)
    cells = np.repeat(np.arange(wanted.size), wanted.ravel())
    classes = cells % dataset.num_classes
    places = (firsts.ravel()[cells] + ranks(wanted.ravel())) % available[classes]
    class_starts = np.cumsum(available) - available
    return ClientIndex.of_sizes(wanted.sum(axis=1), order[class_starts[classes] + places])


def _own_rows(dataset: Dataset, owner: Int64, num_clients: int, rng: Generator) -> ClientIndex:
    ids, test_ids = dataset.train_client_ids, dataset.test_client_ids
    assert ids is not None
    assert test_ids is not None
    client_of_id = np.full(int(ids.max()) + 2, -1, dtype=np.int64)  # the last entry serves id -1
    client_of_id[ids] = owner
    rows, sizes = group_rows(client_of_id[test_ids], num_clients, rng)
    return ClientIndex.of_sizes(sizes, rows)


_RULES: dict[str, Callable[[Dataset, Int64, int, Generator], ClientIndex]] = {
    "iid": _whole,
    "quantity": _whole,
    "shards": _held_labels,
    "dirichlet": _label_mix,
    "balanced_dirichlet": _label_mix,
    "natural": _own_rows,
}
