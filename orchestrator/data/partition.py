"""Partitions a data set over clients: each client's training, validation and test samples as index arrays.

A client's validation part is floor(validation_fraction * n) random samples of its n training samples. It has at least
1 sample when the fraction is above 0 and n >= 2. It never has all samples.

The test part of a client depends on the kind of partition. Test parts of different clients may overlap.

- iid, quantity: the whole central test set, since all clients have the same distribution.
- shards: every test sample of the client's labels.
- dirichlet, balanced_dirichlet, and a user's own function: ceil(share of c in the client's training samples * n_ref)
  random test samples of each class c, or all if there are fewer, with n_ref = max(ceil(N_test / K), min(N_test, 100)).
  This is the label-mix test part of DisPFL (arXiv:2206.00187) with a minimum of about 100 samples.
- natural: the client's own rows of the test part.

With `distinct_clients` = B the partition has B distinct clients, and client k has the parts of client k mod B.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig, PartitionConfig
from orchestrator.data.assignment import ASSIGNMENTS
from orchestrator.data.client_index import ClientIndex
from orchestrator.data.dataset import Dataset, update_digest
from orchestrator.data.evaluation_parts import class_counts, test_index
from orchestrator.data.grouping import group_rows, ranks
from orchestrator.data.own_partition import assign_own
from orchestrator.errors import PartitionError
from orchestrator.formatting import counted

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """The rows of K clients: `train` and `validation` (disjoint) of the training part, and `test` of the test part.

    Clients from number `num_distinct` on repeat the parts of the first clients. `notes` are lines for the user about
    samples that no client has.
    """

    train: ClientIndex
    validation: ClientIndex
    test: ClientIndex
    kind: str
    num_distinct: int
    notes: tuple[str, ...] = ()

    @property
    def num_clients(self) -> int:
        """Number of clients, K."""
        return len(self.train)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the kind and every index."""
        digest = hashlib.sha256(self.kind.encode())
        for index in (self.train, self.validation, self.test):
            for array in (index.starts, index.stops, index.indices):
                update_digest(digest, array)
        return digest.hexdigest()

    def table(self, dataset: Dataset) -> dict[str, Int64]:
        """Return a table with one row per distinct client, as columns by name.

        The columns are client_id, num_train, num_validation, num_test and class_0, class_1, ... The class columns
        count the samples of training and validation part.
        """
        distinct = slice(self.num_distinct)
        owner = np.full(len(dataset.train_labels), -1, dtype=np.int64)
        for index in (self.train, self.validation):
            owner[index.indices] = np.repeat(np.arange(self.num_distinct), index.sizes()[distinct])
        counts = class_counts(dataset, owner, self.num_distinct)
        return {
            "client_id": np.arange(self.num_distinct),
            "num_train": self.train.sizes()[distinct],
            "num_validation": self.validation.sizes()[distinct],
            "num_test": self.test.sizes()[distinct],
        } | {f"class_{label}": counts[:, label] for label in range(dataset.num_classes)}


def make_partition(
    dataset: Dataset, config: DataConfig, num_clients: int, rng: Generator, *, num_unseen: int = 0
) -> Partition:
    """Assign the samples to clients according to `data.partition`. Equal states of `rng` give equal partitions.

    The last `num_unseen` of the `num_clients` clients never train. A built-in partition chooses them at random.

    Some samples may stay unused: those outside all shards of a given size, and those of natural clients that were not
    chosen. A note tells the user.

    Raises PartitionError when the partition is impossible, and when a client has no test sample.
    """
    kind, population = config.partition.kind, num_clients
    if config.partition.distinct_clients is not None:
        num_clients = _num_distinct(config.partition.distinct_clients, population)
    _check_population(dataset, config, num_clients)
    owner = _assign(dataset, config.partition, num_clients, rng)
    if num_unseen and kind in ASSIGNMENTS:
        # the ids of natural clients have the order of the data's ids, so that the last clients are no random ones
        owner = np.append(rng.permutation(num_clients), -1)[owner]
    rows, sizes = group_rows(owner, num_clients, rng)
    fraction = config.validation_fraction
    exact = Fraction(fraction).limit_denominator(10**9)  # in floating point, 0.29 * 100 is below 29
    num_validation = sizes * exact.numerator // exact.denominator
    if fraction > 0.0:
        num_validation = np.clip(num_validation, 1, None)
    num_validation = np.minimum(num_validation, sizes - 1)
    in_validation = ranks(sizes) < np.repeat(num_validation, sizes)
    test = test_index(dataset, kind, owner, num_clients, rng)
    empty = np.flatnonzero(test.sizes() == 0)
    if empty.size:
        problem = f"the test set has no sample of the classes of client {empty[0]}"
        raise PartitionError("data.partition.kind", kind, problem, "add test samples of every class")
    train = ClientIndex.of_sizes(sizes - num_validation, rows[~in_validation])
    validation = ClientIndex.of_sizes(num_validation, rows[in_validation])
    if num_clients < population:
        train, validation, test = (index.repeated(population) for index in (train, validation, test))
    return Partition(
        train=train,
        validation=validation,
        test=test,
        kind=kind,
        num_distinct=num_clients,
        notes=(*_unused_note(dataset, kind, owner), *_unseen_note(population, num_unseen)),
    )


def _assign(dataset: Dataset, config: PartitionConfig, num_clients: int, rng: Generator) -> Int64:
    """Return the client of each training sample. Raises PartitionError."""
    if config.kind not in ASSIGNMENTS:
        return assign_own(dataset, config, num_clients, rng)
    if config.options:
        problem = f"data.partition.kind={config.kind} is built in and has no options"
        remedy = "leave it out, or name your own function"
        raise PartitionError("data.partition.options", dict(config.options), problem, remedy)
    return ASSIGNMENTS[config.kind](dataset, config, num_clients, rng)


def _unused_note(dataset: Dataset, kind: str, owner: Int64) -> tuple[str, ...]:
    """Return a line about training samples that no client has, and about their owners in a natural partition."""
    unused = owner < 0
    if not unused.any():
        return ()
    samples = f"{int(unused.sum())} of {len(owner)} training samples are left out"
    ids = dataset.train_client_ids
    if kind != "natural" or ids is None:
        return (f"{samples}: the {kind} split gives them to no client",)
    owners, left_out = len(np.unique(ids)), len(np.unique(ids[unused]))
    return (
        f"{left_out} of the {owners} owners in the data take no part, and {samples}: "
        f"fleet.num_clients={owners - left_out}",
    )


def _unseen_note(num_clients: int, num_unseen: int) -> tuple[str, ...]:
    if not num_unseen:
        return ()
    first, last = num_clients - num_unseen, num_clients - 1
    which = f"client {last} never trains" if num_unseen == 1 else f"clients {first} to {last} never train"
    return (f"{which} (fleet.unseen_clients={num_unseen})",)


def _num_distinct(distinct_clients: int, population: int) -> int:
    if distinct_clients > population:
        raise PartitionError(
            "data.partition.distinct_clients",
            distinct_clients,
            f"fleet.num_clients={population} is smaller than this number",
            "leave it unset, or use a smaller number",
        )
    return distinct_clients


def _check_population(dataset: Dataset, config: DataConfig, num_clients: int) -> None:
    num_samples, fewest = len(dataset.train_labels), config.partition.min_samples
    if num_clients * fewest > num_samples:
        raise PartitionError(
            "fleet.num_clients",
            num_clients,
            f"too few training samples ({num_samples}) for data.partition.min_samples={fewest} per client",
            f"use at most {counted(num_samples // fewest, 'client')}, or repeat parts "
            "(data.partition.distinct_clients)",
        )
