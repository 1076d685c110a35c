"""Finds the data of a study's settings in one folder, and says what to download if a file is missing.

The folder is the value of `--data`, of the environment variable SPARSEFLEET_DATA, or `data`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import DataError
from orchestrator.models.shapes import InputShape, TextShape
from orchestrator.studies.schema import DataNeed

DEFAULT_FOLDER = Path("data")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlace:
    """A layout of a data set: `files` below the folder must exist; `root` and `config` are the config's data section.

    `root` is relative to the folder; None: the data set is bundled.
    """

    files: tuple[str, ...]
    root: str | None
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededData:
    """A data set that studies need.

    - `places`: the accepted layouts, the preferred one first.
    - `download`: what to download, and where to put it; `{folder}` is the folder.
    - `num_train`, `num_test`: samples; of texts with the default sequence length and stride.
    """

    places: tuple[DataPlace, ...]
    download: str
    input_shape: InputShape
    num_classes: int
    num_train: int
    num_test: int


_MNIST_FILES = tuple(
    f"MNIST/raw/{name}"
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
)
_CIFAR_CONSTANTS = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}

NEEDS: dict[DataNeed, NeededData] = {
    "digits": NeededData(
        places=(DataPlace(files=(), root=None, config={"name": "digits"}),),
        download="",
        input_shape=(1, 8, 8),
        num_classes=10,
        num_train=1438,
        num_test=359,
    ),
    "mnist": NeededData(
        places=(
            DataPlace(files=tuple(f"{file}.gz" for file in _MNIST_FILES), root=".", config={"name": "mnist"}),
            DataPlace(files=_MNIST_FILES, root=".", config={"name": "mnist"}),
        ),
        download="download the four .gz files of https://ossci-datasets.s3.amazonaws.com/mnist/ into "
        "{folder}/MNIST/raw",
        input_shape=(1, 28, 28),
        num_classes=10,
        num_train=60_000,
        num_test=10_000,
    ),
    "cifar10": NeededData(
        places=(
            DataPlace(files=("cifar-10-batches-py/data_batch_1",), root=".", config={"name": "cifar10"}),
            DataPlace(
                files=("cifar10/train.parquet", "cifar10/test.parquet"),
                root="cifar10",
                config={"name": "parquet", **_CIFAR_CONSTANTS},
            ),
        ),
        download="download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz and unpack it in {folder}",
        input_shape=(3, 32, 32),
        num_classes=10,
        num_train=50_000,
        num_test=10_000,
    ),
    "shakespeare": NeededData(
        places=(
            DataPlace(
                files=("shakespeare/input.txt",), root="shakespeare/input.txt", config={"name": "text"}
            ),
        ),
        download="download https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
        "input.txt to {folder}/shakespeare/input.txt",
        input_shape=TextShape((40,)),
        num_classes=65,
        num_train=77_611,
        num_test=19_023,
    ),
}


def data_config(need: DataNeed, folder: Path) -> dict[str, Any]:
    """Return the config's data section for a data set below `folder`.

    Raises DataError, which says what to download and where to put it, for missing files.
    """
    needed = NEEDS[need]
    for place in needed.places:
        if all((folder / file).is_file() for file in place.files):
            root = {} if place.root is None else {"root": str((folder / place.root).resolve())}
            return {**place.config, **root}
    problem = f"{need} is not in this folder"
    remedy = f"{needed.download.format(folder=folder)}, or name its folder with --data DIR"
    raise DataError("--data", folder, problem, remedy)


def assumed_data_config(need: DataNeed) -> dict[str, Any]:
    """Return the data section without the place of the files, for estimates that read no data."""
    return dict(NEEDS[need].places[0].config)
