"""The exported model can be rebuilt from its files alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.federation.seeds import derive
from orchestrator.models.parameters import FlatModule
from orchestrator.models.registry import construct, resolve_builder
from orchestrator.storage.export import export_model
from orchestrator.tracking.served_model import _load_pyfunc
from tests.support.runs import drive, fresh, prepared
from tests.support.user_files import write_user_files

OWN_MODEL = """
from math import prod
from torch import nn


class Net(nn.Module):
    def __init__(self, num_inputs, num_classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(num_inputs, num_classes)

    def forward(self, images):
        return self.head(self.norm(images).flatten(1))


def build(input_shape, num_classes):
    return Net(prod(input_shape), num_classes)
"""


def _reloaded(folder: Path) -> tuple[FlatModule, dict[str, Any]]:
    """Build the model from the two files, as a reader would."""
    about: dict[str, Any] = json.loads((folder / "model.json").read_text())
    builder = about["builder"]
    if about["file"] is not None:
        builder = f"{folder / about['file']}:{builder.rpartition(':')[2]}"
    channels, height, width = about["input_shape"]
    module = construct(
        builder,
        resolve_builder(builder),
        (channels, height, width),
        about["num_classes"],
        double_softmax=about["double_softmax"],
    )
    module.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return FlatModule(module), about


def _params(experiment: Experiment) -> torch.Tensor:
    rng = torch.Generator()
    rng.manual_seed(3)
    return torch.randn(experiment.setting.layout.size, generator=rng)


@pytest.mark.parametrize("softmax", ["true", "false"])
@pytest.mark.parametrize(
    "model", ["mlp", "tests.support.models:dropout", "{tmp}/home/own.py:build", "{tmp}/home/net.py:build"]
)
def test_exported_model_can_be_rebuilt(tmp_path: Path, model: str, softmax: str) -> None:
    (write_user_files(tmp_path / "home") / "own.py").write_text(OWN_MODEL)
    name = model.replace("{tmp}", str(tmp_path))
    experiment = fresh(f"model.name={name}", f"model.double_softmax={softmax}")
    params, folder = _params(experiment), tmp_path / "some" / "model"
    export_model(experiment, params, folder)
    shutil.rmtree(tmp_path / "home")
    flat, about = _reloaded(folder)
    assert torch.equal(flat.values, params)
    assert flat.layout == experiment.setting.layout
    assert about["double_softmax"] is (softmax == "true")


def test_description_contains_inputs_and_classes(tmp_path: Path) -> None:
    experiment = prepared()
    export_model(experiment, _params(experiment), tmp_path)
    assert json.loads((tmp_path / "model.json").read_text()) == {
        "builder": "mlp",
        "build_seed": derive(0, "model"),
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "output": None,
        "double_softmax": False,
        "file": None,
        "mean": list(experiment.dataset.mean),
        "std": list(experiment.dataset.std),
        "vocabulary": None,
        "torch": torch.__version__,
    }


def test_second_export_replaces_the_model(tmp_path: Path) -> None:
    experiment = prepared()
    params = _params(experiment)
    export_model(experiment, params, tmp_path)
    export_model(experiment, params * 2, tmp_path)
    assert torch.equal(_reloaded(tmp_path)[0].values, params * 2)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("name", ["fedavg", "feddst"])
def test_run_exports_its_final_model(tmp_path: Path, name: str) -> None:
    driver = drive(prepared(f"algorithm.name={name}"), tmp_path)
    flat, _ = _reloaded(tmp_path / "model")
    assert params_sha256(flat.values) == driver.params_sha256()


def test_another_run_can_start_from_an_exported_model(tmp_path: Path) -> None:
    driver = drive(prepared(), tmp_path)
    path = tmp_path / "model" / "model.safetensors"
    following = fresh(f"model.init={path}", "seed=9")
    assert params_sha256(following.initial) == driver.params_sha256()


def test_loaded_model_returns_the_chosen_output(tmp_path: Path) -> None:
    experiment = fresh("model.name=tests.support.models:named_outputs", "model.output=logits")
    export_model(experiment, _params(experiment), tmp_path)
    flat = experiment.new_model()
    flat.load(_params(experiment))
    flat.module.eval()
    images = np.load(tmp_path / "example.npy")
    with torch.no_grad():
        expected = flat.module(experiment.dataset.to_tensor(experiment.dataset.test_inputs[:1]))
    assert expected.shape == (1, 10)
    np.testing.assert_allclose(_load_pyfunc(str(tmp_path)).predict(images), expected.numpy(), rtol=1e-5)
