"""Scikit-learn's bundled digits: 1,797 images of 8x8 grey pixels with 17 levels; needs no download.

The file is read from the installed package: importing scikit-learn takes seconds, which the smallest
experiment would spend on nothing else.
"""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

_FILE = "sklearn/datasets/data/digits.csv.gz"  # a row holds 64 levels from 0 to 16 and the label


def load(config: DataConfig) -> Splits:
    """The digits as float32 in [0, 1] (level / 16, which is exact); they have no test part of their own.

    Raises DataError when `data.root` is set, which would be ignored, or scikit-learn lacks the file.
    """
    if config.root is not None:
        raise DataError(
            "data.root", config.root, "data.name=digits comes with the installation", "leave it out"
        )
    try:
        table = np.loadtxt(
            str(distribution("scikit-learn").locate_file(_FILE)), delimiter=",", dtype=np.float32
        )
    except (OSError, PackageNotFoundError) as error:
        raise DataError("data.name", "digits", f"scikit-learn lacks {_FILE}", "install it again") from error
    levels = table[:, :-1].reshape(-1, 1, 8, 8)
    return Splits(LoadedPart(levels / np.float32(16), table[:, -1].astype(np.int64)))
