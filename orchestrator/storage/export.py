"""Write the final model to files from which a reader can rebuild it without pickle."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.atomic_write import explained_write, write_durably
from orchestrator.data.dataset import Dataset
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import derive
from orchestrator.models.state import pack_state, whole_state


def export_model(experiment: Experiment, params: Tensor, folder: Path) -> None:
    """Write `model.safetensors` (the `state_dict`) and `model.json` (how to build the module) into a folder.

    `example.npy` is an input as a served model expects it: one test sample, with pixels in [0, 1].

    `build_seed` seeds the generators of torch, numpy and Python before the build, because a builder may also make
    random choices outside tensors. If a user's file defines the model, this function copies that file and its
    neighbours too.
    """
    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    dataset, spec = experiment.dataset, experiment.model_spec
    source = experiment.sources.get("model")
    for name, content in source.files.items() if source is not None else ():
        with explained_write(folder / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_durably(folder / name, content)
    flat = experiment.new_model()
    flat.load(params)
    write_durably(folder / "model.safetensors", pack_state(whole_state(flat.module)).tobytes())
    about = {
        "builder": spec,
        "build_seed": derive(experiment.config.seed, "model"),
        "input_shape": list(dataset.input_shape),
        "num_classes": dataset.num_classes,
        "output": experiment.config.model.output,
        "double_softmax": experiment.config.model.double_softmax,
        "file": source.path.name if source is not None else None,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "vocabulary": dataset.vocabulary,
        "torch": torch.__version__,
    }
    write_durably(folder / "example.npy", _example(dataset))
    write_durably(folder / "model.json", json.dumps(about, indent=2).encode())


def _example(dataset: Dataset) -> bytes:
    """Return the first test sample as a .npy file: float32[1, C, H, W] or [1, F], or int64[1, T]."""
    inputs = dataset.test_inputs[:1]
    scale = np.float32(255.0 if inputs.dtype == np.uint8 else 1.0)
    is_text = dataset.vocabulary is not None
    example = inputs.astype(np.int64) if is_text else inputs.astype(np.float32) / scale
    file = BytesIO()
    np.save(file, example, allow_pickle=False)
    return file.getvalue()
