"""Small data sets in memory, for tests that read no files."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from orchestrator.data.dataset import Dataset

MakeDataset = Callable[..., Dataset]


@pytest.fixture
def make_dataset() -> MakeDataset:
    """A function that builds a data set of 1x2x2 images from labels; image i of a part is filled with i modulo 256."""

    def make(
        train_labels: Sequence[int],
        test_labels: Sequence[int] = (0, 1, 2),
        train_client_ids: Sequence[int] | None = None,
        test_client_ids: Sequence[int] | None = None,
    ) -> Dataset:
        parts = []
        for labels in (train_labels, test_labels):
            fill = (np.arange(len(labels)) % 256).astype(np.uint8)
            parts.append(np.broadcast_to(fill[:, None, None, None], (len(labels), 1, 2, 2)).copy())
        return Dataset(
            name="toy",
            input_shape=(1, 2, 2),
            num_classes=int(max(train_labels)) + 1,
            train_inputs=parts[0],
            train_labels=np.asarray(train_labels, dtype=np.int64),
            test_inputs=parts[1],
            test_labels=np.asarray(test_labels, dtype=np.int64),
            mean=(0.5,),
            std=(0.25,),
            train_client_ids=None
            if train_client_ids is None
            else np.asarray(train_client_ids, dtype=np.int64),
            test_client_ids=None if test_client_ids is None else np.asarray(test_client_ids, dtype=np.int64),
        )

    return make
