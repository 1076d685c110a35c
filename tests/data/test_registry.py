"""The data sets by name: loaders, default models, and requests rejected before a file is read."""

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


def test_names_default_models_and_kinds() -> None:
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
        "table": None,
        "huggingface": None,
        "text": "char_lstm",
    }
    assert {name: entry.default_model for name, entry in DATASETS.items()} == models
    assert {name for name, entry in DATASETS.items() if entry.needs_root} == {
        "parquet",
        "imagefolder",
        "npz",
        "table",
        "huggingface",
        "text",
    }
    assert {name for name, entry in DATASETS.items() if entry.kind == "text"} == {"text"}


def test_modules_of_actors_import_no_heavy_packages() -> None:
    modules = "registry, dataset, client_samples, partition, augment"
    heavy = "{'torchvision', 'sklearn', 'pandas', 'pyarrow', 'matplotlib', 'mlflow', 'ray', 'PIL'}"
    program = (
        f"from orchestrator.data import {modules}\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("mnits", ["'mnist'?"]), ("CIFAR10", ["'cifar10'?"]), ("?", list(DATASETS))],
)
def test_unknown_name_is_rejected_with_a_suggestion(name: str, suggested: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(DataConfig(name=name))
    assert (caught.value.field, caught.value.value) == ("data.name", name)
    assert all(dataset in caught.value.remedy for dataset in suggested)


@pytest.mark.parametrize("name", ["parquet", "imagefolder", "npz", "table", "huggingface", "text"])
def test_missing_root_is_rejected(name: str, tmp_path: Path) -> None:
    for root in (None, tmp_path / "absent"):
        with pytest.raises(DataError) as caught:
            load_dataset(DataConfig(name=name, root=root))
        assert (caught.value.field, caught.value.value) == ("data.root", root)


def test_client_column_is_rejected_for_other_data_sets() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(name="digits", client_column="writer"))
    assert caught.value.field == "data.client_column"


@pytest.mark.parametrize(("key", "value"), [("augment", True), ("image_size", 32), ("mean", (0.5,))])
def test_image_options_are_rejected_for_texts(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "play.txt"
    file.write_text("A:\nsome words\n")
    std = {"std": (0.5,)} if key == "mean" else {}
    config = DataConfig.model_validate({"name": "text", "root": file, key: value, **std})
    with pytest.raises(DataError) as caught:
        load_dataset(config)
    assert (caught.value.field, caught.value.value) == (f"data.{key}", value)
