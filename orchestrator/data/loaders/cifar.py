"""Loads CIFAR-10 and CIFAR-100 (fine labels) in torchvision's layout; torchvision checks the files' digests."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.locate import root_or_download
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

#: constants of the FedDST experiments (arXiv:2112.09824) for both data sets; SSFL's differ in the third digit
_CONSTANTS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def load(config: DataConfig) -> Splits:
    """Load images, uint8[N, 3, 32, 32]. torchvision downloads them when `data.root` is None. Raises DataError."""
    import torchvision

    make = getattr(torchvision.datasets, _CLASSES[config.name])
    layout = f"a folder with {_FOLDERS[config.name]}/ as unpacked from the CIFAR web site"
    root = root_or_download(config, layout, lambda folder: make(str(folder), download=True))
    return Splits(_part(config, make, root, True), _part(config, make, root, False), _CONSTANTS)


def _part(config: DataConfig, make: Callable[..., Any], root: Path, train: bool) -> LoadedPart:
    try:
        with warnings.catch_warnings():
            # the published pickles contain a dtype that newer numpy versions deprecate
            warnings.simplefilter("ignore", category=np.exceptions.VisibleDeprecationWarning)
            part = make(str(root), train=train)
    except (OSError, RuntimeError) as error:
        problem = f"{_FOLDERS[config.name]}/ is missing or differs from the published files"
        remedy = "unpack the archive in this folder, or leave data.root out"
        raise DataError("data.root", root, problem, remedy) from error
    return LoadedPart(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets))
