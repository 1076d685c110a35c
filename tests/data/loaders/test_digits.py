"""The bundled digits."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.digits import load
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def test_images_equal_those_of_scikit_learn() -> None:
    ours, theirs = load(DataConfig()).train, load_digits()
    assert ours.images.dtype == np.float32
    assert np.array_equal(ours.images[:, 0] * 16, theirs.images)
    assert np.array_equal(ours.labels, theirs.target)


@pytest.mark.parametrize(("fraction", "num_train"), [(0.2, 1438), (0.5, 899)])
def test_constants_are_those_of_the_training_images(fraction: float, num_train: int) -> None:
    """Mean and deviation are computed with scikit-learn's images. Only training images get mean 0 and deviation 1."""
    dataset, theirs = load_dataset(DataConfig(test_fraction=fraction)), load_digits()
    assert dataset.input_shape == (1, 8, 8)
    assert dataset.num_classes == 10
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (num_train, 1797 - num_train)
    rows = {image.tobytes(): number for number, image in enumerate((theirs.images / 16).astype(np.float32))}
    levels = theirs.images[[rows[image.tobytes()] for image in dataset.train_inputs[:, 0]]] / 16
    assert dataset.mean == pytest.approx((levels.mean(),), rel=1e-12)
    assert dataset.std == pytest.approx((levels.std(),), rel=1e-12)
    train, test = dataset.to_tensor(dataset.train_inputs), dataset.to_tensor(dataset.test_inputs)
    assert float(train.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(train.std(correction=0)) == pytest.approx(1.0, abs=1e-6)
    assert abs(float(test.mean())) > 1e-4


def test_root_is_rejected() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(root=Path()))
    assert (caught.value.field, caught.value.value) == ("data.root", Path())
