"""The test images of each client, for each kind of partition."""

from collections.abc import Callable

import numpy as np

from orchestrator.data.dataset import Dataset
from orchestrator.data.evaluation_parts import class_counts
from orchestrator.data.evaluation_parts import test_index as index_of

MakeDataset = Callable[..., Dataset]


def test_class_counts_ignore_unused_images(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1, 2, 2, 1])
    assert class_counts(dataset, np.array([0, 1, 1, -1, 1]), 2).tolist() == [[1, 0, 0], [0, 2, 1]]


def test_iid_clients_share_the_whole_test_set(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1] * 4, [0, 1, 1])
    for kind in ("iid", "quantity"):
        index = index_of(dataset, kind, np.zeros(8, dtype=np.int64), 4, np.random.default_rng(0))
        assert [rows.tolist() for rows in index] == [[0, 1, 2]] * 4
        assert len(index.indices) == 3


def test_shards_clients_have_every_test_image_of_their_labels(make_dataset: MakeDataset) -> None:
    """Clients 0 and 2 have the labels {0, 1} and share the stored rows. Client 1 has the label {2}."""
    dataset = make_dataset([0, 1, 2, 2, 1, 0], [2, 0, 1, 2, 0])
    index = index_of(dataset, "shards", np.array([0, 0, 1, 1, 2, 2]), 3, np.random.default_rng(0))
    assert [sorted(rows.tolist()) for rows in index] == [[1, 2, 4], [0, 3], [1, 2, 4]]
    assert len(index.indices) == 5


def test_dirichlet_clients_have_their_label_mix(make_dataset: MakeDataset) -> None:
    """200 test images, K = 2: n_ref = max(100, 100). Client 0 has 3/4 and 1/4, client 1 has 1/3 and 2/3.

    ceil(75) + ceil(25) and ceil(33.3) + ceil(66.7).
    """
    owner = np.array([0, 0, 0, 0, 1, 1, 1])
    dataset = make_dataset([0, 0, 0, 1, 0, 1, 1], [0, 1] * 100)
    for kind in ("dirichlet", "balanced_dirichlet"):
        index = index_of(dataset, kind, owner, 2, np.random.default_rng(0))
        counts = [np.bincount(dataset.test_labels[rows]).tolist() for rows in index]
        assert counts == [[75, 25], [34, 67]]
        assert all(len(set(rows.tolist())) == len(rows) for rows in index)


def test_label_mix_has_a_hundred_images_or_an_equal_share(make_dataset: MakeDataset) -> None:
    """One class: 30 images give n_ref 30; 1000 over 3 clients give ceil(1000/3) = 334; over 50, 100."""
    for num_test, num_clients, expected in ((30, 3, 30), (1000, 3, 334), (1000, 50, 100)):
        dataset = make_dataset([0] * 50, [0] * num_test)
        owner = np.arange(50) % num_clients
        index = index_of(dataset, "dirichlet", owner, num_clients, np.random.default_rng(0))
        assert index.sizes().tolist() == [expected] * num_clients


def test_label_mix_takes_at_most_all_images_of_a_class(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1], [0] * 3 + [1] * 97)
    index = index_of(dataset, "dirichlet", np.array([0, 1]), 2, np.random.default_rng(0))
    assert sorted(index[0].tolist()) == [0, 1, 2]
    assert index.sizes().tolist() == [3, 97]


def test_label_mixes_of_clients_are_random_and_overlap(make_dataset: MakeDataset) -> None:
    """Each of 400 clients has 100 of 1000 images; about 40 clients have a given image."""
    dataset = make_dataset([0] * 400, [0] * 1000)
    index = index_of(dataset, "dirichlet", np.arange(400), 400, np.random.default_rng(0))
    num_clients = np.bincount(index.indices, minlength=1000)
    assert num_clients.sum() == 40_000
    assert 10 < num_clients.min() <= num_clients.max() < 90
    assert all(np.diff(np.sort(index[k])).max() > 1 for k in range(400))


def test_natural_clients_have_their_own_rows(make_dataset: MakeDataset) -> None:
    """Ids 0 and 2 are clients 0 and 1. No client has the rows of id 1 and of unknown ids."""
    dataset = make_dataset([0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2], [2, 0, 1, -1, 2])
    index = index_of(dataset, "natural", np.array([0, 0, -1, -1, 1, 1]), 2, np.random.default_rng(0))
    assert [sorted(rows.tolist()) for rows in index] == [[1], [0, 4]]
