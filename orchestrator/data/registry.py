"""The data sets by name. Loading a data set imports only its own loader; listing data sets imports none."""

import importlib
from dataclasses import dataclass

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.errors import ConfigError, DataError
from orchestrator.models.shapes import InputKind
from orchestrator.suggest import suggest


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set: `loader` is `module:function`, `summary` is its line in a list.

    With `default_model` None the default model depends on the image shape. A loader of images returns Splits, and a
    loader of text returns a Dataset.
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
    "text": DatasetEntry(
        f"{_LOADERS}.text:load",
        "your text file of roles and their lines: predict the next character, one client per role",
        "char_lstm",
        needs_root=True,
        kind="text",
    ),
}


def load_dataset(config: DataConfig) -> Dataset:
    """Read the data set that `config` names. The result depends on the data section only, not on the seed.

    Raises ConfigError for an unknown name, and DataError for data that is missing, unreadable or unusable.
    """
    entry = DATASETS.get(config.name)
    if entry is None:
        remedy = suggest(config.name.lower(), DATASETS, f"choose one of {', '.join(DATASETS)}")
        raise ConfigError("data.name", config.name, "there is no such data set", remedy)
    if entry.needs_root and config.root is None:
        raise DataError("data.root", None, f"data.name={config.name} reads your files", "say where they are")
    for key, column in (("client_column", config.client_column), ("label_column", config.label_column)):
        if column is not None and config.name != "parquet":
            raise DataError(f"data.{key}", column, "only data.name=parquet has columns", "leave it out")
    if entry.kind == "text":
        _reject_image_options(config)
    from orchestrator.data.splits import assemble

    module, function = entry.loader.split(":")
    loaded = getattr(importlib.import_module(module), function)(config)
    return loaded if isinstance(loaded, Dataset) else assemble(config, loaded)


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
