"""A logged text model: MLflow loads the model, and it predicts scores from token ids."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.model import log_model
from tests.support.saved_models import load_from_mlflow, save_char_lstm

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow.types"),
]


def test_logged_model_loads_and_predicts_from_token_ids(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    module = save_char_lstm(folder)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)
    experiment = client.create_experiment("texts", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    model_id = log_model(client, run_id, folder, digest="d", step=0, sent=set())
    served = load_from_mlflow(uri, f"models:/{model_id}")
    (inputs,) = served.metadata.signature.inputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype(np.int64), (-1, 4))
    tokens = np.random.default_rng(0).integers(0, 5, (3, 4))
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(served.predict(tokens), expected, atol=1e-6)
