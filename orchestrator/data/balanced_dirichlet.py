"""The balanced Dirichlet partition of SSFL (arXiv:2405.09037): skewed labels, equal sizes, every sample used.

A *slot* is one place for a sample at a client. The *pool* of a class is the set of its samples.

Legend: N = training samples = slots, K = clients, C = classes.
"""

from heapq import heapify, heappop, heappush, heappushpop

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.grouping import even_sizes, group_rows
from orchestrator.data.shares import dirichlet_shares

Int64 = NDArray[np.int64]

_BLOCK = 2**21  # number of cumulated priors in memory at the same time


def balanced_dirichlet(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Return the client of each sample, int64[N]. The clients' numbers of samples differ by at most one.

    Each client has a prior q_k ~ Dir(alpha * 1_C). The clients' slots are filled in random order. Each slot samples
    a class from q_k, restricted to the classes with unused samples, and takes a sample of this class.
    """
    order, pools = group_rows(dataset.train_labels, dataset.num_classes, rng)
    priors = dirichlet_shares(config.alpha, dataset.num_classes, num_clients, rng)
    sizes = even_sizes(len(order), num_clients)
    slots = rng.permutation(np.repeat(np.arange(num_clients), sizes))
    classes = _fill(priors, slots, pools, rng)
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = slots[np.argsort(classes, kind="stable")]
    return owner


def _fill(priors: NDArray[np.float64], slots: Int64, pools: Int64, rng: Generator) -> Int64:
    """Return the class of each slot, int64[N], with the distribution of filling one slot after another.

    First, all slots sample a class at once. Then the function closes classes in the order in which their samples run
    out. The slots that came too late for a closed class sample again from the open classes. This is rejection
    sampling: a class sampled among the open classes already has the renormalised distribution. Each class closes at
    most once, so the loop ends.
    """
    open_classes = np.flatnonzero(pools > 0)
    classes = _sample_classes(priors, slots, open_classes, rng)
    pool_of = [
        _Pool(int(size), rows) for size, rows in zip(pools, _by_class(classes, len(pools)), strict=True)
    ]
    full = [(pool.last, label) for label, pool in enumerate(pool_of) if pool.late]
    heapify(full)
    while full:
        last, closed = heappop(full)
        pool = pool_of[closed]
        if not pool.late or pool.last != last:
            continue  # an outdated entry: the class has closed, or has got an earlier slot since
        open_classes = np.delete(open_classes, np.searchsorted(open_classes, closed))
        too_late = np.sort(np.array(pool.late))
        pool.late = []
        classes[too_late] = _sample_classes(priors, slots[too_late], open_classes, rng)
        for slot, label in zip(too_late.tolist(), classes[too_late].tolist(), strict=True):
            pool_of[label].add(slot)
        for label in set(classes[too_late].tolist()):
            if pool_of[label].late:
                heappush(full, (pool_of[label].last, label))
    return classes


class _Pool:
    """The slots that sampled a class. The earliest slots get its samples; the slots in `late` get none."""

    def __init__(self, size: int, rows: Int64) -> None:
        """`size` is the number of the class's samples; `rows` are slots in ascending order."""
        self._size = size
        # negative slots in ascending order: a heap with the last slot on top
        self._served = (-rows[:size][::-1]).tolist()
        self.late: list[int] = rows[size:].tolist()

    @property
    def last(self) -> int:
        """The slot that gets the last sample. It exists only when there are late slots."""
        return -int(self._served[0])

    def add(self, slot: int) -> None:
        """Add a slot that sampled this class, which has at least one sample."""
        if len(self._served) < self._size:
            heappush(self._served, -slot)
        else:
            self.late.append(-heappushpop(self._served, -slot))


def _by_class(classes: Int64, num_classes: int) -> list[Int64]:
    """Return the slots of each class, in ascending order."""
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(classes, minlength=num_classes))[:-1])


def _sample_classes(priors: NDArray[np.float64], slots: Int64, open_classes: Int64, rng: Generator) -> Int64:
    """Sample a class for each slot from its client's prior over the open classes.

    The class is uniform when the prior is zero for all open classes. The cumulated prior of a client is computed once
    for all its slots.
    """
    uniform = rng.random(len(slots))
    order = np.argsort(slots, kind="stable")
    clients, starts = np.unique(slots[order], return_index=True)
    ends = [*starts[1:].tolist(), len(slots)]
    chosen = np.empty(len(slots), dtype=np.int64)
    block = max(1, _BLOCK // len(open_classes))
    for first in range(0, len(clients), block):
        cumulated = _cumulated(priors[clients[first : first + block]], open_classes)
        for number, row in enumerate(cumulated, start=first):
            own = order[starts[number] : ends[number]]
            chosen[own] = np.searchsorted(row, uniform[own], side="right")
    return open_classes[chosen]


def _cumulated(priors: NDArray[np.float64], open_classes: Int64) -> NDArray[np.float64]:
    """Return cumulated priors, float64[clients, open classes].

    A uniform number in [0, 1) selects the first class whose entry is larger than the number.
    """
    cumulated = np.cumsum(priors[:, open_classes], axis=1)
    cumulated[cumulated[:, -1] == 0.0] = np.arange(1, len(open_classes) + 1)
    cumulated /= cumulated[:, -1:]
    # the last class with any mass also gets the remainder that rounding leaves
    cumulated[cumulated >= 1.0] = np.inf
    return cumulated
