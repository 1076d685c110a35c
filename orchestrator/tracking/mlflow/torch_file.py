"""Writes a file from which `mlflow.pytorch.load_model` loads a model as `torch.nn.Module`, without importing torch.

The file has torch's older format, a sequence of pickles. Its only object is a call of `sparsefleet_model.load_module`
with the files of the model, so the file contains no class of a model.
"""

import pickle
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, final

#: see `torch/serialization.py`
_MAGIC_NUMBER, _PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
_SYSTEM = {"protocol_version": _PROTOCOL_VERSION, "little_endian": True, "type_sizes": {}}
#: names that MLflow expects in the folder
MODEL_FILE, PICKLE_MODULE_FILE = "model.pth", "pickle_module_info.txt"
#: several runs in threads of one process may log their models at once
_IMPORT = threading.Lock()


@final
class _Call:
    """Is unpickled as the result of a call."""

    def __init__(self, function: Any, argument: Any) -> None:
        self._call = function, (argument,)

    def __reduce__(self) -> Any:
        return self._call


def write_torch_file(model_dir: Path, loader: Path, out: Path) -> None:
    """Write the files of the pytorch flavor to the new folder `out`; `loader` is the file of `load_module`."""
    files = {
        path.relative_to(model_dir).as_posix(): path.read_bytes()
        for path in sorted(model_dir.rglob("*"))
        if path.is_file()
    }
    out.mkdir()
    (out / PICKLE_MODULE_FILE).write_text("pickle")
    call = _Call(_top_level(loader).load_module, files)
    with (out / MODEL_FILE).open("wb") as file:
        items: tuple[object, ...] = (_MAGIC_NUMBER, _PROTOCOL_VERSION, _SYSTEM, call, [])
        for item in items:
            pickle.dump(item, file, protocol=4)


def _top_level(loader: Path) -> ModuleType:
    """Import the loader under the name that it has next to a logged model, so that pickles refer to this name."""
    name = loader.stem
    with _IMPORT:
        if name not in sys.modules:
            spec = spec_from_file_location(name, loader)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
