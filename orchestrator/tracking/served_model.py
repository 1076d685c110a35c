"""Loads a logged model for MLflow: a run's `model/` folder becomes an object with a `predict` method.

The folder contains `model.safetensors` (the model's `state_dict`) and `model.json`; the loader reads no pickle.
MLflow calls `_load_pyfunc` (see "loader_module" in `mlflow.pyfunc`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from orchestrator.config.sections import ModelConfig
from orchestrator.models.registry import build_model
from orchestrator.models.seeding import forked_generators
from orchestrator.models.shapes import EVALUATION_BATCH, TextShape
from orchestrator.models.state import load_whole_state


@final
class ServedModel:
    """The final global model of a run, in evaluation mode on the CPU."""

    def __init__(self, module: nn.Module, constants: tuple[Tensor, Tensor] | None) -> None:
        """`module` expects normalised inputs.

        `constants` are mean and std of the images, float32[C], on the scale of pixel / 255, or of the vectors,
        float32[F]; None for texts.
        """
        self.module = module.eval()
        self._constants = constants

    def predict(
        self,
        model_input: NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.int64],
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Compute class scores: images [n, C, H, W], vectors [n, F] or texts [n, T] -> float32[n, num_classes].

        The method divides uint8 pixels by 255. It does not scale float32 pixels: they must be those of a float data
        set, or those of a uint8 data set divided by 255. It then normalises all images as in training. Texts are
        integer token ids, the positions of the characters in the vocabulary of the data set.
        The scores are the inputs of the cross-entropy: logits, or their softmax in a run with `model.double_softmax`.
        The method ignores `params`.
        """
        inputs = torch.from_numpy(np.array(model_input))
        starts = range(0, max(len(inputs), 1), EVALUATION_BATCH)
        with torch.inference_mode():
            batches = [
                self.module(self._normalise(inputs[start : start + EVALUATION_BATCH])) for start in starts
            ]
        scores: NDArray[np.float32] = torch.cat(batches).numpy()
        return scores

    def _normalise(self, inputs: Tensor) -> Tensor:
        if self._constants is None:
            return inputs.long()
        mean, std = (constant.view(-1, *[1] * (inputs.ndim - 2)) for constant in self._constants)
        scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
        return (inputs.float() / scale - mean) / std


def contains_text(description: Mapping[str, Any]) -> bool:
    """Whether a model takes texts, by its `model.json`.

    Earlier releases wrote no entry `vocabulary` and had no vectors as inputs, so one dimension means text.
    """
    if "vocabulary" in description:
        return description["vocabulary"] is not None
    return len(description["input_shape"]) == 1


def _load_pyfunc(data_path: str) -> ServedModel:
    """Rebuild the model from its folder. Raises ModelError when the tensors do not fit the model."""
    folder = Path(data_path)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    builder = description["builder"]
    if description["file"] is not None:
        builder = f"{folder / description['file']}:{builder.rpartition(':')[2]}"
    # earlier releases wrote no `output`
    config = ModelConfig(
        name=builder, output=description.get("output"), double_softmax=description["double_softmax"]
    )
    is_text = contains_text(description)
    input_shape = (TextShape if is_text else tuple)(description["input_shape"])
    with forked_generators(description["build_seed"]):
        module = build_model(config, input_shape, description["num_classes"], None)
    path = folder / "model.safetensors"
    load_whole_state(module, load_file(path), path)
    if is_text:
        return ServedModel(module, None)
    mean, std = (torch.tensor(description[name], dtype=torch.float32) for name in ("mean", "std"))
    return ServedModel(module, (mean, std))
