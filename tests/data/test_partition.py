"""Partitions: properties of every kind, and rejected requests."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.sections import DataConfig, PartitionConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition, make_partition
from orchestrator.errors import PartitionError

MakeDataset = Callable[..., Dataset]

KINDS = ["iid", "shards", "dirichlet", "balanced_dirichlet", "quantity", "natural"]
USES_ALL = ["iid", "shards", "dirichlet", "balanced_dirichlet", "quantity"]


def split(
    dataset: Dataset,
    kind: str,
    num_clients: int,
    seed: int = 0,
    validation_fraction: float = 0.1,
    **options: float,
) -> Partition:
    config = DataConfig(
        validation_fraction=validation_fraction,
        partition=PartitionConfig.model_validate({"kind": kind} | options),
    )
    return make_partition(dataset, config, num_clients, np.random.default_rng(seed))


@pytest.fixture
def toy(make_dataset: MakeDataset) -> Dataset:
    """301 training and 63 test images of 3 classes, from 7 clients."""
    rng = np.random.default_rng(42)
    return make_dataset(
        [*rng.integers(0, 3, 298), 0, 1, 2],
        [*rng.integers(0, 3, 60), 0, 1, 2],
        [*rng.integers(0, 7, 294), *range(7)],
        [*rng.integers(-1, 7, 56), *range(7)],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_validation_rows_are_disjoint_over_all_clients(toy: Dataset, kind: str) -> None:
    partition = split(toy, kind, 6, validation_fraction=0.2)
    used = np.concatenate([partition.train.indices, partition.validation.indices])
    assert len(np.unique(used)) == len(used)
    assert used.min() >= 0
    assert used.max() < 301
    sizes = partition.train.sizes() + partition.validation.sizes()
    assert sizes.min() >= 2
    assert partition.validation.sizes().tolist() == [max(n // 5, 1) for n in sizes.tolist()]
    if kind in USES_ALL:
        assert len(used) == 301


@pytest.mark.parametrize("kind", KINDS)
def test_test_parts_have_distinct_test_rows(toy: Dataset, kind: str) -> None:
    partition = split(toy, kind, 6)
    for client in range(6):
        rows = partition.test[client]
        assert 0 < len(rows) == len(set(rows.tolist()))
        assert set(rows.tolist()) <= set(range(63))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_streams_give_equal_partitions(toy: Dataset, kind: str) -> None:
    first, second, other = split(toy, kind, 6, 1), split(toy, kind, 6, 1), split(toy, kind, 6, 2)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("fraction", "size", "expected"),
    [
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.58, 50, 29),
        (0.1, 30, 3),
        (0.1, 29, 2),
        (0.15, 20, 3),
        (0.05, 19, 1),
    ],
)
def test_validation_part_is_the_floor_of_the_exact_share(
    make_dataset: MakeDataset, fraction: float, size: int, expected: int
) -> None:
    """In floating point, 0.29 * 100 is 28.999999999999996."""
    partition = split(make_dataset([0] * 3 * size, [0]), "iid", 3, validation_fraction=fraction)
    assert partition.validation.sizes().tolist() == [expected] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_assignment_does_not_depend_on_the_validation_fraction(toy: Dataset, kind: str) -> None:
    without, with_some = (split(toy, kind, 6, 1, fraction) for fraction in (0.0, 0.3))
    assert without.validation.sizes().tolist() == [0] * 6
    for client in range(6):
        union = np.concatenate([with_some.train[client], with_some.validation[client]])
        assert sorted(union) == sorted(without.train[client])


def test_validation_part_has_at_least_one_sample_and_never_all(make_dataset: MakeDataset) -> None:
    """Each of 5 clients has 2 of 10 images: 1 % and 99 % give 1 image. A single image is never in validation."""
    dataset = make_dataset([0, 1] * 5)
    for fraction in (0.01, 0.99):
        assert split(dataset, "iid", 5, validation_fraction=fraction).validation.sizes().tolist() == [1] * 5
    single = split(dataset, "iid", 10, validation_fraction=0.5, min_samples=1)
    assert single.validation.sizes().tolist() == [0] * 10
    assert single.train.sizes().tolist() == [1] * 10


def test_table_counts_training_and_validation_samples_by_class(toy: Dataset) -> None:
    partition = split(toy, "dirichlet", 6, validation_fraction=0.2)
    table = partition.table(toy)
    columns = ["client_id", "num_train", "num_validation", "num_test", "class_0", "class_1", "class_2"]
    assert list(table) == columns
    assert table["client_id"].tolist() == list(range(6))
    for client in range(6):
        rows = [*partition.train[client], *partition.validation[client]]
        for label in range(3):
            assert table[f"class_{label}"][client] == sum(toy.train_labels[r] == label for r in rows)
        assert table["num_train"][client] == len(partition.train[client])
        assert table["num_validation"][client] == len(partition.validation[client])
        assert table["num_test"][client] == len(partition.test[client])


@pytest.mark.parametrize(
    ("kind", "num_clients", "options", "field", "value", "figure"),
    [
        ("iid", 151, {}, "fleet.num_clients", 151, "at most 150 clients"),
        ("iid", 3, {"min_samples": 101}, "fleet.num_clients", 3, "at most 2 clients"),
        ("quantity", 302, {"min_samples": 1}, "fleet.num_clients", 302, "at most 301"),
        ("shards", 10, {"shard_size": 16}, "data.partition.shard_size", 16, "20 in total"),
        ("shards", 10, {"classes_per_client": 4}, "data.partition.classes_per_client", 4, "3 classes"),
        ("shards", 10, {"shard_size": 2, "min_samples": 5}, "data.partition.min_samples", 5, "4 samples"),
        ("shards", 151, {"min_samples": 1}, "data.partition.min_samples", 1, "0 samples"),
        ("dirichlet", 30, {"alpha": 1e-6}, "data.partition.alpha", 1e-6, "at most 0 training"),
        ("natural", 8, {}, "fleet.num_clients", 8, "at most 7"),
        ("natural", 2, {"min_samples": 150}, "fleet.num_clients", 2, "at most 0"),
    ],
)
def test_impossible_partitions_are_rejected(
    toy: Dataset,
    kind: str,
    num_clients: int,
    options: dict[str, float],
    field: str,
    value: float,
    figure: str,
) -> None:
    with pytest.raises(PartitionError) as caught:
        split(toy, kind, num_clients, **options)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert figure in str(caught.value)


@pytest.mark.parametrize("kind", ["shards", "dirichlet"])
def test_test_set_without_a_clients_classes_is_rejected(make_dataset: MakeDataset, kind: str) -> None:
    dataset = make_dataset([0] * 10 + [1] * 10, [0] * 5)
    with pytest.raises(PartitionError) as caught:
        split(dataset, kind, 2, seed=1, alpha=1e-6, classes_per_client=1)
    assert (caught.value.field, caught.value.value) == ("data.partition.kind", kind)


@settings(max_examples=40)
@given(
    labels=st.lists(st.integers(0, 4), min_size=20, max_size=80),
    kind=st.sampled_from(USES_ALL),
    num_clients=st.integers(1, 10),
    alpha=st.floats(1e-3, 1e3),
    fraction=st.floats(0.0, 0.99),
)
def test_any_partition_is_rejected_or_uses_every_image_once(
    labels: list[int], kind: str, num_clients: int, alpha: float, fraction: float
) -> None:
    empty = np.zeros((0, 1, 1, 1), dtype=np.uint8)
    dataset = Dataset(
        name="any",
        input_shape=(1, 1, 1),
        num_classes=5,
        train_inputs=empty,
        train_labels=np.array(labels),
        test_inputs=empty,
        test_labels=np.arange(5),
        mean=(0.0,),
        std=(1.0,),
    )
    try:
        partition = split(dataset, kind, num_clients, 0, fraction, alpha=alpha)
    except PartitionError:
        assert kind == "dirichlet"
        return
    used = np.concatenate([partition.train.indices, partition.validation.indices])
    assert sorted(used) == list(range(len(labels)))
    assert (partition.train.sizes() >= 1).all()
    assert len(partition.train) == len(partition.validation) == len(partition.test) == num_clients


@pytest.mark.parametrize("kind", KINDS)
def test_clients_beyond_the_distinct_clients_repeat_their_parts(toy: Dataset, kind: str) -> None:
    """Seven clients repeat the parts of three. The table has three rows."""
    few, many = split(toy, kind, 3), split(toy, kind, 7, distinct_clients=3)
    assert (many.num_clients, many.num_distinct, few.num_distinct) == (7, 3, 3)
    for k in range(7):
        for part in ("train", "validation", "test"):
            assert getattr(many, part)[k].tolist() == getattr(few, part)[k % 3].tolist()
    assert {name: column.tolist() for name, column in many.table(toy).items()} == {
        name: column.tolist() for name, column in few.table(toy).items()
    }
    assert many.fingerprint() != few.fingerprint()


def test_more_distinct_clients_than_clients_are_rejected(toy: Dataset) -> None:
    with pytest.raises(PartitionError, match=r"fleet\.num_clients=7") as caught:
        split(toy, "iid", 7, distinct_clients=8)
    assert (caught.value.field, caught.value.value) == ("data.partition.distinct_clients", 8)


def test_million_clients_share_the_rows_of_three(toy: Dataset) -> None:
    many = split(toy, "iid", 1_000_000, distinct_clients=3)
    assert many.train.indices.size <= 301
    assert len(many.train) == 1_000_000


def test_note_counts_owners_of_a_natural_partition_without_a_client(toy: Dataset) -> None:
    """Four of seven owners are clients. The note counts the samples of the other three owners."""
    partition = split(toy, "natural", 4)
    used = set(partition.train.indices.tolist()) | set(partition.validation.indices.tolist())
    assert toy.train_client_ids is not None
    assert len({int(toy.train_client_ids[row]) for row in used}) == 4
    (note,) = partition.notes
    assert note.startswith("3 of the 7 owners")
    assert f"{301 - len(used)} of 301" in note
    assert "fleet.num_clients=4" in note
    assert split(toy, "natural", 7).notes == ()


def test_unseen_clients_of_a_natural_partition_are_random_owners(toy: Dataset) -> None:
    """Two of seven owners are the last clients, and other seeds choose other owners."""
    assert toy.train_client_ids is not None
    chosen = set()
    for seed in range(8):
        config = DataConfig(partition=PartitionConfig(kind="natural"))
        partition = make_partition(toy, config, 7, np.random.default_rng(seed), num_unseen=2)
        assert partition.notes == ("clients 5 to 6 never train (fleet.unseen_clients=2)",)
        owners = [{int(toy.train_client_ids[row]) for row in rows} for rows in partition.train]
        assert sorted(owner for (owner,) in owners) == list(range(7))
        chosen.add(frozenset.union(*map(frozenset, owners[5:])))
    assert len(chosen) > 2


def test_note_counts_samples_outside_all_shards(toy: Dataset) -> None:
    """Six clients with two shards of 20 have 240 of 301 samples."""
    (note,) = split(toy, "shards", 6, shard_size=20).notes
    assert note.startswith("61 of 301 training samples")
    assert all(split(toy, kind, 6).notes == () for kind in USES_ALL)
