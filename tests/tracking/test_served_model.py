"""The served model: the same scores as the module, and an error for other weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.tracking.served_model import _load_pyfunc
from tests.support.saved_models import save_char_lstm

FILE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_inputs, num_classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(num_inputs, num_classes)

    def forward(self, x):
        return self.head(self.norm(x).flatten(1))

def tiny(input_shape, num_classes):
    c, h, w = input_shape
    return Net(c * h * w, num_classes)
"""

WEIGHTS = {
    "norm.weight": torch.tensor([1.0, 2.0]),
    "norm.bias": torch.tensor([0.0, 1.0]),
    "norm.running_mean": torch.tensor([0.5, 0.0]),
    "norm.running_var": torch.tensor([1.0, 4.0]),
    "norm.num_batches_tracked": torch.tensor(0),
    "head.weight": torch.arange(6.0).view(3, 2) / 10,
    "head.bias": torch.tensor([0.0, 0.0, 1.0]),
}


def write_model(
    folder: Path, tensors: dict[str, Tensor], *, prefix: str = "", double_softmax: bool = False
) -> str:
    """Write the folder of a model from a user's file, with two channels of one pixel and three classes."""
    folder.mkdir()
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "mine.py").write_text(FILE)
    description = {
        "builder": "/somewhere/else/mine.py:tiny",
        "build_seed": 1,
        "file": "mine.py",
        "input_shape": [2, 1, 1],
        "num_classes": 3,
        "double_softmax": double_softmax,
        "mean": [0.5, 0.25],
        "std": [0.5, 0.25],
    }
    (folder / "model.json").write_text(json.dumps(description))
    return str(folder)


def by_hand(pixels: list[float]) -> list[float]:
    """The logits of one image: normalisation, batch norm with running statistics, linear layer."""
    a, b = (pixels[0] - 0.5) / 0.5, (pixels[1] - 0.25) / 0.25
    a, b = (a - 0.5) / (1.0 + 1e-5) ** 0.5, 2 * b / (4.0 + 1e-5) ** 0.5 + 1
    return [0.0 * a + 0.1 * b, 0.2 * a + 0.3 * b, 0.4 * a + 0.5 * b + 1]


def test_predict_matches_a_hand_calculation_for_floats_and_bytes(tmp_path: Path) -> None:
    model = _load_pyfunc(write_model(tmp_path / "model", WEIGHTS))
    pixels = np.array([[0, 51], [255, 102], [51, 204]], dtype=np.uint8)
    expected = [by_hand([a / 255, b / 255]) for a, b in pixels.tolist()]
    from_bytes = model.predict(pixels.reshape(3, 2, 1, 1))
    np.testing.assert_allclose(from_bytes, expected, rtol=1e-6)
    assert from_bytes.dtype == np.float32
    np.testing.assert_array_equal(
        model.predict(pixels.reshape(3, 2, 1, 1).astype(np.float32) / np.float32(255)), from_bytes
    )


def test_predict_accepts_any_number_of_read_only_images(tmp_path: Path) -> None:
    model = _load_pyfunc(write_model(tmp_path / "model", WEIGHTS))
    images = np.random.default_rng(0).random((600, 2, 1, 1), dtype=np.float32)
    images.flags.writeable = False
    scores = model.predict(images)
    assert scores.shape == (600, 3)
    np.testing.assert_allclose(scores[599], by_hand(images[599].ravel().tolist()), rtol=1e-5)
    assert model.predict(images[:0]).shape == (0, 3)


def test_predict_returns_the_softmax_with_double_softmax(tmp_path: Path) -> None:
    model = _load_pyfunc(write_model(tmp_path / "model", WEIGHTS, prefix="0.", double_softmax=True))
    scores = model.predict(np.array([0.1, 0.9], dtype=np.float32).reshape(1, 2, 1, 1))
    np.testing.assert_allclose(
        scores[0], nn.functional.softmax(torch.tensor(by_hand([0.1, 0.9])), dim=0), rtol=1e-5
    )


def test_predict_of_token_ids_matches_the_module(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    module = save_char_lstm(folder)
    tokens = np.random.default_rng(0).integers(0, 5, (300, 4))
    model = _load_pyfunc(str(folder))
    scores = model.predict(tokens)
    assert scores.dtype == np.float32
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict(tokens.astype(np.uint8)), scores)
    assert model.predict(tokens[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "tensor"),
    [
        ({"head.bias": None}, "head.bias"),
        ({"other.bias": torch.zeros(1)}, "other.bias"),
        ({"head.bias": torch.zeros(4)}, "head.bias"),
        ({"head.bias": torch.zeros(3, dtype=torch.float64)}, "head.bias"),
        ({"norm.num_batches_tracked": None}, "norm.num_batches_tracked"),
    ],
)
def test_loading_rejects_the_weights_of_another_model(
    tmp_path: Path, change: dict[str, Tensor | None], tensor: str
) -> None:
    changed = {**WEIGHTS, **change}
    folder = write_model(tmp_path / "model", {n: t for n, t in changed.items() if t is not None})
    with pytest.raises(ModelError, match=re.escape(tensor)):
        _load_pyfunc(folder)
