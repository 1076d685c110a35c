"""Real MNIST and CIFAR-10 images, in the folder that SPARSEFLEET_TEST_DATA names."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.sections import DataConfig, PartitionConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import make_partition
from orchestrator.data.registry import load_dataset

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def root() -> Path:
    folder = os.environ.get("SPARSEFLEET_TEST_DATA")
    if folder is None:
        pytest.skip("SPARSEFLEET_TEST_DATA names no folder with real data")
    return Path(folder)


@pytest.fixture(scope="module")
def mnist(root: Path) -> Dataset:
    return load_dataset(DataConfig(name="mnist", root=root))


def test_mnist_has_the_published_class_sizes_and_labels(mnist: Dataset) -> None:
    """The published class sizes, and the first training labels 5 0 4 1 9."""
    assert mnist.train_inputs.shape == (60_000, 1, 28, 28)
    sizes = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train_labels).tolist() == sizes
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    values = mnist.to_tensor(mnist.train_inputs[:20_000])
    assert float(values.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(values.std()) == pytest.approx(1.0, abs=0.02)


def test_mnist_fingerprint_depends_on_one_pixel(mnist: Dataset) -> None:
    before = mnist.fingerprint()
    images = mnist.train_inputs.copy()
    images[31_415, 0, 14, 14] ^= 1
    assert replace(mnist, train_inputs=images).fingerprint() != before


def test_feddst_pathological_partition(mnist: Dataset) -> None:
    """400 clients with 2 shards of 20 images and every test image of their labels (arXiv:2112.09824)."""
    options = PartitionConfig(kind="shards", classes_per_client=2, shard_size=20)
    config = DataConfig(validation_fraction=0.0, partition=options)
    partition = make_partition(mnist, config, 400, np.random.default_rng(0))
    assert partition.train.sizes().tolist() == [40] * 400
    for client in range(0, 400, 37):
        labels = np.unique(mnist.train_labels[partition.train[client]])
        expected = np.flatnonzero(np.isin(mnist.test_labels, labels))
        assert np.array_equal(np.sort(partition.test[client]), expected)


def test_balanced_dirichlet_is_fast_and_balanced(mnist: Dataset) -> None:
    config = DataConfig(partition=PartitionConfig(kind="balanced_dirichlet", alpha=0.1))
    start_s = time.process_time()
    partition = make_partition(mnist, config, 400, np.random.default_rng(0))
    assert time.process_time() - start_s < 2.0
    assert (partition.train.sizes() + partition.validation.sizes()).tolist() == [150] * 400
    table = partition.table(mnist)
    shares = np.stack([table[f"class_{label}"] for label in range(10)]) / 150
    assert shares.max(axis=0).mean() > 0.6


def test_cifar10_from_parquet(root: Path) -> None:
    """The file with 1,000 test images per class, of which a fifth is held out."""
    dataset = load_dataset(DataConfig(name="parquet", root=root / "cifar10" / "test.parquet"))
    assert dataset.input_shape == (3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [800] * 10
    assert np.bincount(dataset.test_labels).tolist() == [200] * 10
    assert dataset.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.01)
    assert dataset.std == pytest.approx((0.247, 0.2435, 0.2616), abs=0.01)
