"""Logs the final model as an MLflow model, for `mlflow.pyfunc.load_model` and `mlflow.pytorch.load_model`."""

import json
import re
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.tracking import sparsefleet_model
from orchestrator.tracking.mlflow.files import send_files
from orchestrator.tracking.mlflow.torch_file import write_torch_file
from orchestrator.tracking.served_model import contains_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from numpy.typing import NDArray

#: the file that MLflow stores with the model and imports to load the model
LOADER = Path(sparsefleet_model.__file__)
#: folder with the files of the pytorch flavor in a logged model
_TORCH = "pytorch"
#: tag with the digest of a logged model's weights
SHA256_TAG = "sparsefleet.model_sha256"


def log_model(
    client: "MlflowClient",
    mlflow_run_id: str,
    model_dir: Path,
    digest: str,
    step: int,
    sent: set[str],
    *,
    name: str,
) -> str:
    """Log a run's `model/` folder as a logged model, an output of the run at `step`; returns the model's id.

    `digest` is the digest of the weights. After an error, this or another process may call the function again: the call
    continues the model that exists, and sends only the files that are not in `sent`. The function passes requirements
    and signature to MLflow, so that MLflow does not import torch to infer them.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    run = client.get_run(mlflow_run_id)
    experiment_id = run.info.experiment_id
    model = _existing_model(client, experiment_id, mlflow_run_id, digest) or client.create_logged_model(
        experiment_id, name=_model_name(name), source_run_id=mlflow_run_id, tags={SHA256_TAG: digest}
    )
    sent.add(model.model_id)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        about = Model(
            artifact_path=model.artifact_location,
            run_id=mlflow_run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
            signature=_signature(model_dir),
        )
        example = _example(model_dir)
        about.add_flavor("pytorch", model_data=_TORCH, pytorch_version=_torch_version(model_dir), code="code")
        save_model(
            path,
            loader_module=LOADER.stem,
            code_paths=[str(LOADER)],
            data_path=str(model_dir),
            pip_requirements=_requirements(),
            mlflow_model=about,
            # without an example, MLflow warns of this argument
            signature=None if example is None else about.signature,
            input_example=example,
        )
        write_torch_file(model_dir, LOADER, path / _TORCH)
        send_files(path, partial(client.log_model_artifact, model.model_id), sent, owner=model.model_id)
    client.finalize_logged_model(model.model_id, "READY")
    # MLflow rejects an output that it already has, for example when the answer to an earlier call was lost
    outputs = run.outputs.model_outputs if run.outputs else []
    if all(output.model_id != model.model_id for output in outputs):
        client.log_outputs(mlflow_run_id, [LoggedModelOutput(model.model_id, step=step)])
    return str(model.model_id)


def _example(model_dir: Path) -> "NDArray[np.generic] | None":
    """Return an input of the model; None for a run of an earlier release."""
    path = model_dir / "example.npy"
    return np.load(path, allow_pickle=False) if path.is_file() else None


def _torch_version(model_dir: Path) -> str:
    about = json.loads((model_dir / "model.json").read_text(encoding="utf-8"))
    return str(about.get("torch", version("torch")))


def _model_name(name: str) -> str:
    """Return the name of a method as a name that MLflow accepts for a model; of `FILE:CLASS`, the class."""
    return re.sub(r"[^\w -]", "_", name.rpartition(":")[2]) or "model"


def _existing_model(
    client: "MlflowClient", experiment_id: str, mlflow_run_id: str, digest: str
) -> "LoggedModel | None":
    """Return the model that an earlier call created for these weights, or an unfinished model of any weights."""
    source = f"source_run_id = '{mlflow_run_id}'"
    models = client.search_logged_models([experiment_id], source)
    same = next((model for model in models if model.tags.get(SHA256_TAG) == digest), None)
    unfinished = next((model for model in models if model.status == "PENDING"), None)
    if same is None and unfinished is not None:
        client.set_logged_model_tags(unfinished.model_id, {SHA256_TAG: digest})
    return same or unfinished


def _signature(model_dir: Path) -> "ModelSignature":
    """Images float32[n, C, H, W], vectors float32[n, F] or token ids int64[n, T] -> float32[n, num_classes]."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    description = json.loads((model_dir / "model.json").read_text(encoding="utf-8"))
    input_shape = description["input_shape"]
    dtype = np.dtype(np.int64 if contains_text(description) else np.float32)
    inputs = TensorSpec(dtype, (-1, *input_shape), name=None)
    scores = TensorSpec(np.dtype(np.float32), (-1, description["num_classes"]), name=None)
    return ModelSignature(inputs=Schema([inputs]), outputs=Schema([scores]))


def _requirements() -> list[str]:
    """Requirements for loading, with the installed versions but without local labels, which no package index has."""
    requirements = []
    for package in ("sparsefleet", "torch", "numpy", "safetensors"):
        try:
            requirements.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:
            if package != "sparsefleet":  # Sparsefleet may also run from a checkout
                raise
    return requirements
