"""The assignment of training samples to clients, for each kind of partition."""

from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.config.sections import PartitionConfig
from orchestrator.data.assignment import dirichlet, iid, natural, quantity, shards
from orchestrator.data.dataset import Dataset
from orchestrator.errors import PartitionError

MakeDataset = Callable[..., Dataset]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iid_gives_equal_sizes_and_mixed_classes(make_dataset: MakeDataset) -> None:
    """1001 images of two sorted classes over 4 clients: 251, 250, 250, 250, each about half and half."""
    dataset = make_dataset([0] * 501 + [1] * 500)
    owner = iid(dataset, PartitionConfig(kind="iid"), 4, rng())
    assert np.bincount(owner).tolist() == [251, 250, 250, 250]
    assert np.abs(np.bincount(owner[:501]) - 125).max() < 30


def test_clients_get_whole_shards(make_dataset: MakeDataset) -> None:
    """8 images per class make 2 shards of 4 per class. Each client has whole shards of one or two classes."""
    labels = [2, 0, 1] * 8
    dataset = make_dataset(labels)
    owner = shards(dataset, PartitionConfig(kind="shards", classes_per_client=2), 3, rng())
    counts = np.stack(
        [np.bincount(dataset.train_labels[owner == client], minlength=3) for client in range(3)]
    )
    assert counts.sum(axis=1).tolist() == [8, 8, 8]
    assert set(counts.ravel().tolist()) <= {0, 4, 8}


def test_shard_may_contain_two_classes(make_dataset: MakeDataset) -> None:
    """Sorted labels 0 0 0 1 1 1 in shards of 2 are {0 0} {0 1} {1 1}, in random order over three clients."""
    dataset = make_dataset([1, 0, 1, 0, 1, 0])
    owner = shards(dataset, PartitionConfig(kind="shards", classes_per_client=1, shard_size=2), 3, rng())
    found = sorted(sorted(dataset.train_labels[owner == client].tolist()) for client in range(3))
    assert found == [[0, 0], [0, 1], [1, 1]]


def test_shards_of_a_given_size_leave_samples_unused(make_dataset: MakeDataset) -> None:
    """103 images make 10 shards of 10. Each of 3 clients gets 2 shards."""
    owner = shards(make_dataset([0, 1] * 51 + [1]), PartitionConfig(kind="shards", shard_size=10), 3, rng())
    assert np.bincount(owner + 1).tolist() == [43, 20, 20, 20]


def test_shards_without_a_size_use_every_image(make_dataset: MakeDataset) -> None:
    """103 images in 6 shards: one of 18 and five of 17."""
    owner = shards(make_dataset([0, 1] * 51 + [1]), PartitionConfig(kind="shards"), 3, rng())
    assert sorted(np.bincount(owner).tolist()) == [34, 34, 35]


def test_shards_are_shuffled_inside_a_class(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0] * 50 + [1] * 50)
    owner = shards(dataset, PartitionConfig(kind="shards", classes_per_client=1), 4, rng())
    assert all(np.diff(np.flatnonzero(owner == client)).max() > 1 for client in range(4))


def test_share_of_clients_with_one_class(make_dataset: MakeDataset) -> None:
    """FedDST's 400 clients with 2 of 3000 single-class shards of 20: P(same class) = 299/2999, about 10 %."""
    dataset = make_dataset(list(range(10)) * 6000)
    owner = shards(dataset, PartitionConfig(kind="shards", shard_size=20), 400, rng())
    assert (owner >= 0).sum() == 16_000
    has_class = np.stack(
        [np.bincount(dataset.train_labels[owner == k], minlength=10) > 0 for k in range(400)]
    )
    assert 0.05 < (has_class.sum(axis=1) == 1).mean() < 0.16


def test_dirichlet_skew_follows_alpha(make_dataset: MakeDataset) -> None:
    """A symmetric Dirichlet over K = 5 has mean sum of squared shares (alpha + 1) / (5 alpha + 1)."""
    dataset = make_dataset(list(range(10)) * 1000)
    for alpha in (0.1, 1.0, 100.0):
        squares = []
        for seed in range(20):
            owner = dirichlet(dataset, PartitionConfig(kind="dirichlet", alpha=alpha), 5, rng(seed))
            for label in range(10):
                shares = np.bincount(owner[dataset.train_labels == label], minlength=5) / 1000
                squares.append(float((shares**2).sum()))
        assert np.mean(squares) == pytest.approx((alpha + 1) / (5 * alpha + 1), rel=0.1)


def test_dirichlet_shuffles_inside_a_class(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0] * 400)
    owner = dirichlet(dataset, PartitionConfig(kind="dirichlet", alpha=100.0), 2, rng())
    assert 60 < owner[:200].sum() < 140


def test_dirichlet_repeats_until_every_client_has_min_samples(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(list(range(10)) * 30)
    config = PartitionConfig(kind="dirichlet", alpha=0.3, min_samples=8)
    for seed in range(10):
        assert np.bincount(dirichlet(dataset, config, 15, rng(seed)), minlength=15).min() >= 8


def test_quantity_respects_min_samples_and_is_skewed(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1] * 2000)
    sizes = np.bincount(
        quantity(dataset, PartitionConfig(kind="quantity", alpha=0.05, min_samples=7), 20, rng()),
        minlength=20,
    )
    assert sizes.sum() == 4000
    assert sizes.min() == 7
    assert sizes.max() > 600


def test_natural_clients_are_in_the_order_of_their_ids(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1, 0, 1], [0, 1], [1, 0, 1, 0], [0, 1])
    config = PartitionConfig(kind="natural")
    assert natural(dataset, config, 2, rng()).tolist() == [1, 0, 1, 0]


def test_natural_samples_eligible_clients(make_dataset: MakeDataset) -> None:
    """Client 0 has one image and client 3 has no test image, so that client 1, 2 or 4 is sampled."""
    ids = [0, 1, 1, 2, 2, 3, 3, 4, 4]
    dataset = make_dataset([0, 1] * 4 + [0], [0, 1, 0, 1, 0], ids, [0, 1, 2, 4, -1])
    sampled = set()
    for seed in range(30):
        owner = natural(dataset, PartitionConfig(kind="natural"), 1, rng(seed))
        assert set(owner.tolist()) == {-1, 0}
        sampled.add(ids[int(np.argmax(owner))])
    assert sampled == {1, 2, 4}


@pytest.mark.parametrize(
    ("train_ids", "problem"),
    [(None, "the data has no client ids"), ([0, 0, 1, 1], "the test part has no client ids")],
)
def test_natural_rejects_data_without_client_ids(
    make_dataset: MakeDataset, train_ids: list[int] | None, problem: str
) -> None:
    dataset = make_dataset([0, 1, 0, 1], [0], train_ids, None)
    with pytest.raises(PartitionError) as caught:
        natural(dataset, PartitionConfig(kind="natural"), 2, rng())
    assert (caught.value.field, caught.value.value) == ("data.partition.kind", "natural")
    assert caught.value.problem == problem
