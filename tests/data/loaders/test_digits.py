"""The bundled digits."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.digits import load
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def test_same_images_as_scikit_learn_gives() -> None:
    ours, theirs = load(DataConfig()).train, load_digits()
    assert ours.images.dtype == np.float32
    assert np.array_equal(ours.images[:, 0] * 16, theirs.images)
    assert np.array_equal(ours.labels, theirs.target)


def test_the_constants_normalise_and_a_fifth_is_held_out() -> None:
    dataset = load_dataset(DataConfig())
    assert dataset.input_shape == (1, 8, 8)
    assert dataset.num_classes == 10
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (1438, 359)
    values = dataset.to_tensor(np.concatenate([dataset.train_inputs, dataset.test_inputs]))
    assert float(values.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(values.std()) == pytest.approx(1.0, abs=1e-3)


def test_root_is_refused() -> None:
    with pytest.raises(DataError, match="leave it out"):
        load_dataset(DataConfig(root=Path()))
