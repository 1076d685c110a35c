"""The balanced Dirichlet split of SSFL (arXiv:2405.09037): skewed labels, equal sizes, every sample used.

Legend: N = training samples = slots, K = clients, C = classes.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.grouping import even_sizes, group_rows
from orchestrator.data.shares import dirichlet_shares

Int64 = NDArray[np.int64]

_BLOCK = 65_536  # slots drawn at a time, which bounds memory


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
    is_open = pools > 0
    classes = _draw(priors, slots, is_open, rng)
    while True:
        late = {
            int(c): np.flatnonzero(classes == c)
            for c in np.flatnonzero(np.bincount(classes, minlength=len(pools)) > pools)
        }
        if not late:
            return classes
        first_dry = min(late, key=lambda c: late[c][pools[c] - 1])
        is_open[first_dry] = False
        too_late = late[first_dry][pools[first_dry] :]
        classes[too_late] = _draw(priors, slots[too_late], is_open, rng)


def _draw(priors: NDArray[np.float64], slots: Int64, is_open: NDArray[np.bool_], rng: Generator) -> Int64:
    """A class for each slot from its client's prior over the open classes; uniform where that is all zero."""
    classes = np.empty(len(slots), dtype=np.int64)
    for start in range(0, len(slots), _BLOCK):
        block = slice(start, start + _BLOCK)
        cumulated = np.cumsum(np.where(is_open, priors[slots[block]], 0.0), axis=1)
        cumulated[cumulated[:, -1] == 0.0] = np.cumsum(is_open)
        cumulated /= cumulated[:, -1:]
        # the last class with any mass takes what rounding leaves above it
        cumulated[cumulated >= 1.0] = np.inf
        classes[block] = np.argmax(cumulated > rng.random(len(cumulated))[:, None], axis=1)
    return classes
