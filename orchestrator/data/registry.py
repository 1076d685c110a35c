"""The data sets by name. Loading a data set imports only its own loader; listing data sets imports none."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.errors import DataError
from orchestrator.models.shapes import InputKind

if TYPE_CHECKING:
    from orchestrator.data.splits import Splits


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set: `loader` is `module:function`, `summary` is its line in a list.

    With `default_model` None the default model depends on the inputs' shape. A loader of images or vectors returns
    Splits, and a loader of text returns a Dataset.
    """

    loader: str
    summary: str
    default_model: str | None = None
    needs_root: bool = False
    kind: InputKind = "image"


_LOADERS = "orchestrator.data.loaders"

DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(f"{_LOADERS}.digits:load", "1,797 digits, 8x8 grey, bundled: no download", "mlp"),
    "mnist": DatasetEntry(f"{_LOADERS}.mnist:load", "70,000 digits, 28x28 grey", "lenet_mnist"),
    "fashionmnist": DatasetEntry(f"{_LOADERS}.mnist:load", "70,000 garments, 28x28 grey", "lenet_mnist"),
    "emnist": DatasetEntry(
        f"{_LOADERS}.mnist:load", "814,255 characters, 62 classes, 28x28 grey", "cnn_emnist"
    ),
    "cifar10": DatasetEntry(
        f"{_LOADERS}.cifar:load", "60,000 photos, 10 classes, 32x32 colour", "lenet_cifar"
    ),
    "cifar100": DatasetEntry(
        f"{_LOADERS}.cifar:load", "60,000 photos, 100 classes, 32x32 colour", "lenet_cifar100"
    ),
    "parquet": DatasetEntry(f"{_LOADERS}.parquet:load", "your Parquet files of images", needs_root=True),
    "imagefolder": DatasetEntry(f"{_LOADERS}.image_folder:load", "your folders of images", needs_root=True),
    "npz": DatasetEntry(f"{_LOADERS}.npz:load", "your numpy arrays", needs_root=True),
    "table": DatasetEntry(
        f"{_LOADERS}.table:load", "your CSV or Parquet files, columns by name", needs_root=True
    ),
    "huggingface": DatasetEntry(
        f"{_LOADERS}.huggingface:load", "a Hugging Face data set that you saved on disk", needs_root=True
    ),
    "text": DatasetEntry(
        f"{_LOADERS}.text:load",
        "your text file of roles and their lines: predict the next character, one client per role",
        "char_lstm",
        needs_root=True,
        kind="text",
    ),
}


#: config key -> the data sets that use it
_COLUMN_KEYS = {
    "client_column": ("parquet", "table", "huggingface"),
    "label_column": ("parquet", "table", "huggingface"),
    "feature_columns": ("table", "huggingface"),
}


def load_dataset(config: DataConfig) -> Dataset:
    """Read the data set that `config` names. The result depends on the data section only, not on the seed.

    Raises ConfigError for an unknown name, and DataError for data that is missing, unreadable or unusable.
    """
    entry = DATASETS.get(config.name)
    _reject_unused(config, entry)
    if entry is None:
        from orchestrator.data.own_data import load_own

        known = {name: each.loader for name, each in DATASETS.items()}
        loaded: Dataset | Splits = load_own(config, known)
    else:
        module, function = entry.loader.split(":")
        loaded = getattr(importlib.import_module(module), function)(config)
    if isinstance(loaded, Dataset):
        return loaded
    from orchestrator.data.splits import assemble

    return assemble(config, loaded)


def default_model(name: str) -> str | None:
    """Return the usual model of a data set; None: the shape of its inputs decides."""
    return DATASETS[name].default_model if name in DATASETS else None


def loader_of(name: str) -> str:
    """Return where the loader of a data set is, `module:function`, or the name itself for a user's function."""
    return DATASETS[name].loader if name in DATASETS else name


def _reject_unused(config: DataConfig, entry: DatasetEntry | None) -> None:
    """Raise DataError for keys that the data set would ignore, and for a missing `data.root`."""
    if entry is not None and entry.needs_root and config.root is None:
        raise DataError("data.root", None, f"data.name={config.name} reads your files", "say where they are")
    for key, names in _COLUMN_KEYS.items():
        if (value := getattr(config, key)) is not None and config.name not in names:
            problem = f"only data.name={' or '.join(names)} uses this key"
            raise DataError(f"data.{key}", value, problem, "leave it out")
    if entry is not None and config.options:
        problem = f"data.name={config.name} is built in and has no options"
        raise DataError(
            "data.options", dict(config.options), problem, "leave it out, or name your own function"
        )
    if entry is not None and entry.kind == "text":
        _reject_image_options(config)


def _reject_image_options(config: DataConfig) -> None:
    options = {
        "augment": config.augment or None,
        "image_size": config.image_size,
        "mean": config.mean,
        "std": config.std,
    }
    for key, value in options.items():
        if value is not None:
            problem = f"this key is for images, but data.name={config.name} contains texts"
            raise DataError(f"data.{key}", value, problem, "leave it out")
