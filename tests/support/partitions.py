"""Partition tables for tests."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def write_partition(path: Path, counts: NDArray[np.int64]) -> Path:
    """Write a `partition.parquet` with these class counts, int[clients, classes], and return its path."""
    classes = {f"class_{c}": counts[:, c] for c in range(counts.shape[1])}
    pd.DataFrame({"client_id": range(len(counts)), "num_train": counts.sum(axis=1), **classes}).to_parquet(
        path
    )
    return path
