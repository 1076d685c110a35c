"""Models as a run saves them, and as MLflow loads them."""

import json
from pathlib import Path
from typing import Any

import mlflow
from safetensors.torch import save_file
from torch import nn

from orchestrator.models.architectures.lstm import char_lstm


def save_char_lstm(folder: Path) -> nn.Module:
    """Save a character model for texts of 4 tokens out of 5, as a run exports it, and return it."""
    module = char_lstm((4,), 5).eval()
    folder.mkdir()
    save_file(dict(module.state_dict()), folder / "model.safetensors")
    description = {
        "builder": "char_lstm",
        "build_seed": 1,
        "file": None,
        "input_shape": [4],
        "num_classes": 5,
        "double_softmax": False,
        "mean": [],
        "std": [],
    }
    (folder / "model.json").write_text(json.dumps(description))
    return module


def load_from_mlflow(store_uri: str, model_uri: str) -> Any:
    """Load a model from a store as a pyfunc; MLflow's own tracking URI does not change."""
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store_uri)
    try:
        return mlflow.pyfunc.load_model(model_uri)
    finally:
        mlflow.set_tracking_uri(previous)
