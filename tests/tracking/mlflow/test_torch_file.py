"""A file that torch loads without a class of the model."""

import pickletools
from pathlib import Path

import torch

from orchestrator.tracking import sparsefleet_model
from orchestrator.tracking.mlflow.torch_file import write_torch_file
from tests.support.saved_models import save_char_lstm


def test_torch_loads_the_module(tmp_path: Path) -> None:
    import pickle

    module = save_char_lstm(tmp_path / "model")
    write_torch_file(tmp_path / "model", Path(sparsefleet_model.__file__), tmp_path / "out")
    assert (tmp_path / "out" / "pickle_module_info.txt").read_text() == "pickle"
    loaded = torch.load(tmp_path / "out" / "model.pth", pickle_module=pickle, weights_only=False)
    tokens = torch.tensor([[0, 1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens), module(tokens))


def test_file_names_only_the_loader(tmp_path: Path) -> None:
    save_char_lstm(tmp_path / "model")
    write_torch_file(tmp_path / "model", Path(sparsefleet_model.__file__), tmp_path / "out")
    with (tmp_path / "out" / "model.pth").open("rb") as file:
        names = {
            str(argument)
            for _ in range(5)
            for operation, argument, _ in pickletools.genops(file)
            if operation.name in ("SHORT_BINUNICODE", "BINUNICODE", "GLOBAL")
        }
    assert {"sparsefleet_model", "load_module"} <= names
    assert not [name for name in names if name.startswith(("torch", "orchestrator", "builtins"))]
