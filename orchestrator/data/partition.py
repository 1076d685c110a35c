"""Splits over clients as index arrays: who trains, validates and tests on which sample.

A client's validation part is floor(validation_fraction * n) of its n training samples, drawn at random: at
least 1 when the fraction is above 0 and n >= 2, never all.

The test part of a client follows the kind of split; parts of different clients may overlap:
- iid, quantity: the whole central test set, since all clients share one distribution;
- shards: every test sample of the labels the client holds;
- dirichlet, balanced_dirichlet: of each class c, ceil(share of c in the client's training samples * n_ref)
  random test samples, at most what the class has, with n_ref = max(ceil(N_test / K), min(N_test, 100)). This
  is the label-mix test part of DisPFL (arXiv:2206.00187) with a floor of about 100 samples;
- natural: the client's own rows of the test part.

With `distinct_clients` = B all this is done for B clients, and client k has the parts of client k mod B.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.assignment import ASSIGNMENTS
from orchestrator.data.client_index import ClientIndex
from orchestrator.data.dataset import Dataset, update_digest
from orchestrator.data.evaluation_parts import class_counts, test_index
from orchestrator.data.grouping import group_rows, ranks
from orchestrator.errors import PartitionError

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """For K clients, rows of the training part (`train` and `validation`, disjoint) and of the test part.

    The clients from number `num_distinct` on repeat the parts of those before. `notes` are lines for the user
    on samples that no client has.
    """

    train: ClientIndex
    validation: ClientIndex
    test: ClientIndex
    kind: str
    num_distinct: int
    notes: tuple[str, ...] = ()

    @property
    def num_clients(self) -> int:
        """K."""
        return len(self.train)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the kind and every index."""
        digest = hashlib.sha256(self.kind.encode())
        for index in (self.train, self.validation, self.test):
            for array in (index.starts, index.stops, index.indices):
                update_digest(digest, array)
        return digest.hexdigest()

    def table(self, dataset: Dataset) -> dict[str, Int64]:
        """One row per distinct client: client_id, num_train, num_validation, num_test and class_0, class_1, ...

        The class columns count the training samples, validation included.
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


def make_partition(dataset: Dataset, config: DataConfig, num_clients: int, rng: Generator) -> Partition:
    """Deal the samples to clients as `data.partition` says. The same `rng` state gives the same partition.

    Samples that no client takes (shards of a given size, unchosen natural clients) are left unused, which a
    note says.
    Raises PartitionError when the split cannot be made, or leaves a client without a test sample.
    """
    kind, population = config.partition.kind, num_clients
    if config.partition.distinct_clients is not None:
        num_clients = _distinct(config.partition.distinct_clients, population)
    _check_population(dataset, config, num_clients)
    owner = ASSIGNMENTS[kind](dataset, config.partition, num_clients, rng)
    rows, sizes = group_rows(owner, num_clients, rng)
    fraction = config.validation_fraction
    exact = Fraction(fraction).limit_denominator(10**9)  # in floating point .29 of 100 is below 29
    num_validation = sizes * exact.numerator // exact.denominator
    if fraction > 0.0:
        num_validation = np.clip(num_validation, 1, None)
    num_validation = np.minimum(num_validation, sizes - 1)
    validates = ranks(sizes) < np.repeat(num_validation, sizes)
    test = test_index(dataset, kind, owner, num_clients, rng)
    empty = np.flatnonzero(test.sizes() == 0)
    if empty.size:
        problem = f"the test set has no sample of the classes that client {empty[0]} holds"
        raise PartitionError("data.partition.kind", kind, problem, "give the test set samples of every class")
    train = ClientIndex.of_sizes(sizes - num_validation, rows[~validates])
    validation = ClientIndex.of_sizes(num_validation, rows[validates])
    if num_clients < population:
        train, validation, test = (index.repeated(population) for index in (train, validation, test))
    return Partition(
        train=train,
        validation=validation,
        test=test,
        kind=kind,
        num_distinct=num_clients,
        notes=_unused_note(dataset, kind, owner),
    )


def _unused_note(dataset: Dataset, kind: str, owner: Int64) -> tuple[str, ...]:
    """One line on the training samples that belong to no client, and on their owners in a natural split."""
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


def _distinct(wanted: int, population: int) -> int:
    if wanted > population:
        raise PartitionError(
            "data.partition.distinct_clients",
            wanted,
            f"fleet.num_clients={population} is less",
            "leave it unset, or take fewer",
        )
    return wanted


def _check_population(dataset: Dataset, config: DataConfig, num_clients: int) -> None:
    num_samples, fewest = len(dataset.train_labels), config.partition.min_samples
    if num_clients * fewest > num_samples:
        raise PartitionError(
            "fleet.num_clients",
            num_clients,
            f"{num_samples} training samples are too few for data.partition.min_samples={fewest} each",
            f"ask for at most {num_samples // fewest} clients, or repeat parts (data.partition.distinct_clients)",
        )
