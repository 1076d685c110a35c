"""Loads MNIST, FashionMNIST and EMNIST (byclass) in torchvision's layout: idx files, with or without gzip."""

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.locate import root_or_download
from orchestrator.data.splits import Constants, LoadedPart, Splits
from orchestrator.errors import DataError


@dataclass(frozen=True, slots=True)
class _DatasetFamily:
    torchvision_name: str
    train_prefix: str
    test_prefix: str
    constants: Constants
    options: tuple[tuple[str, str], ...] = ()
    transposed: bool = False


#: MNIST's constants are those of the FedDST experiments (arXiv:2112.09824); the others are the commonly used mean and
#: standard deviation of the training pixels
_FAMILIES = {
    "mnist": _DatasetFamily("MNIST", "train", "t10k", ((0.1307,), (0.3081,))),
    "fashionmnist": _DatasetFamily("FashionMNIST", "train", "t10k", ((0.2860,), (0.3530,))),
    "emnist": _DatasetFamily(
        "EMNIST",
        "emnist-byclass-train",
        "emnist-byclass-test",
        ((0.1736,), (0.3317,)),
        options=(("split", "byclass"),),
        transposed=True,
    ),
}


def load(config: DataConfig) -> Splits:
    """Load upright images, uint8[N, 1, 28, 28], and their labels. EMNIST's files contain transposed images.

    Reads `<root>/<MNIST | FashionMNIST | EMNIST>/raw`. torchvision downloads the files when `data.root` is None.
    Raises DataError.
    """
    family = _FAMILIES[config.name]
    first = f"{family.torchvision_name}/raw/{family.train_prefix}-images-idx3-ubyte"
    layout = f"a folder with {first}[.gz] and the other three files"

    def download(root: Path) -> object:
        import torchvision

        make = getattr(torchvision.datasets, family.torchvision_name)
        return make(str(root), download=True, **dict(family.options))

    folder = root_or_download(config, layout, download) / family.torchvision_name / "raw"
    return Splits(
        _part(folder, family.train_prefix, family.transposed),
        _part(folder, family.test_prefix, family.transposed),
        family.constants,
    )


def _part(folder: Path, prefix: str, transposed: bool) -> LoadedPart:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte", 3)
    if transposed:
        images = images.transpose(0, 2, 1)
    return LoadedPart(images[:, None], read_idx(folder / f"{prefix}-labels-idx1-ubyte", 1))


def read_idx(path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    """Read a uint8 idx file, `path` or `path` + `.gz`.

    The file contains 0, 0, type 8, the number of dimensions, the sizes as big-endian uint32, then the values. Raises
    DataError for a file that is missing, corrupt or of another format.
    """
    packed = path.with_name(path.name + ".gz")
    found = path if path.exists() else packed
    if not found.exists():
        problem = f"contains neither {path.name} nor {packed.name}"
        raise DataError("data.root", path.parent, problem, "add one of these files")
    try:
        content = gzip.decompress(found.read_bytes()) if found is packed else found.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        problem = f"cannot be read ({error})"
        raise DataError("data.root", found, problem, "download the file again") from error
    start = 4 + 4 * num_dimensions
    sizes = np.frombuffer(content[4:start], dtype=">u4").tolist() if len(content) >= start else []
    if content[:4] != bytes((0, 0, 8, num_dimensions)) or len(content) != start + prod(sizes):
        problem = f"is not a uint8 idx file with {num_dimensions} dimensions"
        raise DataError("data.root", found, problem, "download the file again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)
