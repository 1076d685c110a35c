"""Names, their loaders, and refusals before any file is read."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.registry import DATASETS, load_dataset
from orchestrator.errors import ConfigError, DataError


def test_every_entry_names_a_loader() -> None:
    for entry in DATASETS.values():
        module, function = entry.loader.split(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert entry.summary


def test_the_names_of_the_config_and_their_usual_models() -> None:
    models = {
        "digits": "mlp",
        "mnist": "lenet_mnist",
        "fashionmnist": "lenet_mnist",
        "emnist": "cnn_emnist",
        "cifar10": "lenet_cifar",
        "cifar100": "lenet_cifar100",
        "parquet": None,
        "imagefolder": None,
        "npz": None,
        "text": "char_lstm",
    }
    assert {name: entry.default_model for name, entry in DATASETS.items()} == models
    assert {name for name, entry in DATASETS.items() if entry.needs_root} == {
        "parquet",
        "imagefolder",
        "npz",
        "text",
    }
    assert {name for name, entry in DATASETS.items() if entry.kind == "text"} == {"text"}


def test_what_actors_import_stays_light() -> None:
    modules = "registry, dataset, client_samples, partition, augment"
    heavy = "{'torchvision', 'sklearn', 'pandas', 'pyarrow', 'matplotlib', 'mlflow', 'ray', 'PIL'}"
    program = (
        f"from orchestrator.data import {modules}\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mnits", "did you mean 'mnist'?"), ("CIFAR10", "did you mean 'cifar10'?"), ("?", "use one of digits")],
)
def test_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(DataConfig(name=name))
    assert caught.value.field == "data.name"
    assert hint in caught.value.remedy


@pytest.mark.parametrize("name", ["parquet", "imagefolder", "npz", "text"])
def test_a_folder_is_needed_and_must_exist(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reads your files") as caught:
        load_dataset(DataConfig(name=name))
    assert caught.value.field == "data.root"
    with pytest.raises(DataError, match="no such file or folder"):
        load_dataset(DataConfig(name=name, root=tmp_path / "absent"))


def test_client_column_is_for_parquet_only() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(name="digits", client_column="writer"))
    assert caught.value.field == "data.client_column"


@pytest.mark.parametrize(("key", "value"), [("augment", True), ("image_size", 32)])
def test_what_is_for_images_is_refused_for_texts(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "play.txt"
    file.write_text("A:\nsome words\n")
    config = DataConfig.model_validate({"name": "text", "root": file, key: value})
    with pytest.raises(DataError, match="holds texts, and it is for images; leave it out") as caught:
        load_dataset(config)
    assert (caught.value.field, caught.value.value) == (f"data.{key}", value)
