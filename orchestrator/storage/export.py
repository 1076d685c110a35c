"""Write the final model to files from which a reader can rebuild it without pickle."""

import json
from pathlib import Path

from torch import Tensor

from orchestrator.atomic_write import explained_write, write_durably
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import derive
from orchestrator.models.state import pack_state, whole_state


def export_model(experiment: Experiment, params: Tensor, folder: Path) -> None:
    """Write `model.safetensors` (the `state_dict`) and `model.json` (how to build the module) into a folder.

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
        "double_softmax": experiment.config.model.double_softmax,
        "file": source.path.name if source is not None else None,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "vocabulary": dataset.vocabulary,
    }
    write_durably(folder / "model.json", json.dumps(about, indent=2).encode())
