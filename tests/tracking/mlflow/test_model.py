"""Logged models: MLflow loads a text model, and models from users' files."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pytest
import torch

from orchestrator.storage.export import export_model
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.model import log_model
from tests.support.runs import fresh
from tests.support.saved_models import load_from_mlflow, save_char_lstm
from tests.support.user_files import write_user_files

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow.types"),
]


def _logged_and_loaded(folder: Path, store: Path) -> Any:
    """Log the model in a folder to a new MLflow store, and load it as any MLflow client does."""
    store.mkdir()
    uri = f"sqlite:///{store}/mlflow.db"
    client = connect(uri)
    experiment = client.create_experiment("models", artifact_location=str(store / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    model_id = log_model(client, run_id, folder, digest="d", step=0, sent=set(), name="m")
    return load_from_mlflow(uri, f"models:/{model_id}")


def test_logged_model_loads_and_predicts_from_token_ids(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    module = save_char_lstm(folder)
    served = _logged_and_loaded(folder, tmp_path / "store")
    (inputs,) = served.metadata.signature.inputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype(np.int64), (-1, 4))
    assert served.metadata.flavors.keys() == {"python_function", "pytorch"}
    tokens = np.random.default_rng(0).integers(0, 5, (3, 4))
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(served.predict(tokens), expected, atol=1e-6)


def test_logged_models_of_users_files_load_without_the_files_in_one_process(tmp_path: Path) -> None:
    """Both models import neighbours of the same names, with different numbers of hidden units."""
    for width in (8, 12):
        home = write_user_files(tmp_path / str(width))
        (home / "parts" / "__init__.py").write_text(f"WIDTH = {width}\n")
        experiment = fresh(f"model.name={home / 'net.py'}:build")
        params = torch.linspace(-1.0, 1.0, experiment.setting.layout.size)
        export_model(experiment, params, home / "model")
        for name in ("net.py", "parts/__init__.py", "parts/blocks.py"):
            (home / name).unlink()
        served = _logged_and_loaded(home / "model", home / "store")
        flat = experiment.new_model()
        flat.load(params)
        images = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
        mean, std = (
            np.float32(constant[0]) for constant in (experiment.dataset.mean, experiment.dataset.std)
        )
        with torch.no_grad():
            expected = flat(torch.from_numpy((images - mean) / std)).numpy()
        np.testing.assert_allclose(served.predict(images), expected, rtol=1e-4, atol=1e-5)


def test_logged_model_is_a_module_of_torch_that_wants_normalised_inputs(tmp_path: Path) -> None:
    experiment = fresh()
    params = torch.linspace(-1.0, 1.0, experiment.setting.layout.size)
    export_model(experiment, params, tmp_path / "model")
    store = tmp_path / "store"
    store.mkdir()
    client = connect(f"sqlite:///{store}/mlflow.db")
    experiment_id = client.create_experiment("models", artifact_location=str(store / "artifacts"))
    run_id = client.create_run(experiment_id).info.run_id
    model_id = log_model(client, run_id, tmp_path / "model", "d", 0, set(), name="/a/mine.py:My_Method")
    logged = client.get_logged_model(model_id)
    assert logged.name == "My_Method"
    folder = urlsplit(logged.artifact_location).path
    module = mlflow.pytorch.load_model(folder)
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    served = mlflow.pyfunc.load_model(folder)
    example = np.asarray(served.metadata.load_input_example(folder), dtype=np.float32)
    assert experiment.dataset.test_inputs.dtype == np.float32
    np.testing.assert_allclose(example, experiment.dataset.test_inputs[:1], rtol=1e-6)
    inputs = experiment.dataset.to_tensor(experiment.dataset.test_inputs[:3])
    flat = experiment.new_model()
    flat.load(params)
    with torch.no_grad():
        torch.testing.assert_close(module(inputs), flat(inputs))
        np.testing.assert_allclose(served.predict(example), flat(inputs[:1]).numpy(), rtol=1e-4, atol=1e-5)
