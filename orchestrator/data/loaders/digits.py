"""Loads scikit-learn's digits: 1,797 images of 8x8 grey pixels with 17 levels, without a download.

The loader reads the file of the installed package, since importing scikit-learn takes seconds.
"""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

_FILE = "sklearn/datasets/data/digits.csv.gz"  # a row has 64 levels from 0 to 16, and the label


def load(config: DataConfig) -> Splits:
    """Load the digits as float32 in [0, 1] (level / 16, which is exact), without a test part.

    Raises DataError when `data.root` is set, and when the installed scikit-learn does not contain the file.
    """
    if config.root is not None:
        problem = "data.name=digits is part of the installation and reads no other files"
        raise DataError("data.root", config.root, problem, "leave it out")
    try:
        table = np.loadtxt(
            str(distribution("scikit-learn").locate_file(_FILE)), delimiter=",", dtype=np.float32
        )
    except (OSError, PackageNotFoundError) as error:
        problem = f"the installed scikit-learn does not contain {_FILE}"
        raise DataError("data.name", "digits", problem, "install scikit-learn again") from error
    levels = table[:, :-1].reshape(-1, 1, 8, 8)
    return Splits(LoadedPart(levels / np.float32(16), table[:, -1].astype(np.int64)))
