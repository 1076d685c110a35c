"""The balanced Dirichlet split of SSFL (arXiv:2405.09037): skewed labels, equal sizes, every sample used.

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

_BLOCK = 2**21  # entries of cumulated priors at a time, which bounds memory


def balanced_dirichlet(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """int64[N]: the owner of each sample. Sizes differ by at most one.

    Each client has a prior q_k ~ Dir(alpha * 1_C). The clients' slots are filled in random order: each
    takes a sample of a class drawn from q_k over the classes that still have samples.
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
    """int64[N]: the class of each slot, as if the slots were filled one after another.

    All slots draw at once; then, in the order in which classes run dry, the slots that came too late for a
    class draw again among the open ones. By rejection this is the sequential law, since a draw that hit
    an open class already has the renormalised distribution. Each class closes once, so the loop ends.
    """
    open_classes = np.flatnonzero(pools > 0)
    classes = _draw(priors, slots, open_classes, rng)
    pool_of = [
        _Pool(int(size), rows) for size, rows in zip(pools, _by_class(classes, len(pools)), strict=True)
    ]
    full = [(pool.last, label) for label, pool in enumerate(pool_of) if pool.late]
    heapify(full)
    while full:
        last, first_dry = heappop(full)
        pool = pool_of[first_dry]
        if not pool.late or pool.last != last:
            continue  # an entry from before the class took an earlier slot, or closed
        open_classes = np.delete(open_classes, np.searchsorted(open_classes, first_dry))
        too_late = np.sort(np.array(pool.late))
        pool.late = []
        classes[too_late] = _draw(priors, slots[too_late], open_classes, rng)
        for slot, label in zip(too_late.tolist(), classes[too_late].tolist(), strict=True):
            pool_of[label].add(slot)
        for label in set(classes[too_late].tolist()):
            if pool_of[label].late:
                heappush(full, (pool_of[label].last, label))
    return classes


class _Pool:
    """The slots that drew a class: the earliest ones, as many as it has samples, and those that came too late."""

    def __init__(self, size: int, rows: Int64) -> None:
        """`rows` are slots in ascending order."""
        self._size = size
        self._fitting = (
            -rows[:size][::-1]
        ).tolist()  # ascending, so that it is a heap with the last slot on top
        self.late: list[int] = rows[size:].tolist()

    @property
    def last(self) -> int:
        """The slot that takes the last sample; only with late slots, when all samples are taken."""
        return -int(self._fitting[0])

    def add(self, slot: int) -> None:
        """One more slot drew this class, which has a sample."""
        if len(self._fitting) < self._size:
            heappush(self._fitting, -slot)
        else:
            self.late.append(-heappushpop(self._fitting, -slot))


def _by_class(classes: Int64, num_classes: int) -> list[Int64]:
    """The slots of each class, in ascending order."""
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(classes, minlength=num_classes))[:-1])


def _draw(priors: NDArray[np.float64], slots: Int64, open_classes: Int64, rng: Generator) -> Int64:
    """A class for each slot from its client's prior over the open classes; uniform where that is all zero.

    A client's cumulated prior is made once, however many of its slots draw.
    """
    draws = rng.random(len(slots))
    order = np.argsort(slots, kind="stable")
    clients, starts = np.unique(slots[order], return_index=True)
    ends = [*starts[1:].tolist(), len(slots)]
    chosen = np.empty(len(slots), dtype=np.int64)
    block = max(1, _BLOCK // len(open_classes))
    for first in range(0, len(clients), block):
        cumulated = _cumulated(priors[clients[first : first + block]], open_classes)
        for place, row in enumerate(cumulated, start=first):
            mine = order[starts[place] : ends[place]]
            chosen[mine] = np.searchsorted(row, draws[mine], side="right")
    return open_classes[chosen]


def _cumulated(priors: NDArray[np.float64], open_classes: Int64) -> NDArray[np.float64]:
    """float64[clients, open classes]: a draw below 1 takes the first class whose entry exceeds it."""
    cumulated = np.cumsum(priors[:, open_classes], axis=1)
    cumulated[cumulated[:, -1] == 0.0] = np.arange(1, len(open_classes) + 1)
    cumulated /= cumulated[:, -1:]
    # the last class with any mass takes what rounding leaves above it
    cumulated[cumulated >= 1.0] = np.inf
    return cumulated
