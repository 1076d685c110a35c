"""A logged text model: MLflow loads the model, and it predicts scores from token ids."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from orchestrator.models.architectures.lstm import char_lstm
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.model import log_model

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow.types"),
]


def test_logged_model_loads_and_predicts_from_token_ids(tmp_path: Path) -> None:
    module, folder = char_lstm((4,), 5).eval(), tmp_path / "model"
    folder.mkdir()
    save_file(dict(module.state_dict()), folder / "model.safetensors")
    description = {
        "builder": "char_lstm",
        "build_seed": 1,
        "file": None,
        "input_shape": [4],
        "num_classes": 5,
    }
    description |= {"double_softmax": False, "mean": [], "std": []}
    (folder / "model.json").write_text(json.dumps(description))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)
    experiment = client.create_experiment("texts", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    model_id = log_model(client, run_id, folder, digest="d", step=0, sent=set())
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        served = mlflow.pyfunc.load_model(f"models:/{model_id}")
    finally:
        mlflow.set_tracking_uri(previous)
    (inputs,) = served.metadata.signature.inputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype(np.int64), (-1, 4))
    tokens = np.random.default_rng(0).integers(0, 5, (3, 4))
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(served.predict(tokens), expected, atol=1e-6)
