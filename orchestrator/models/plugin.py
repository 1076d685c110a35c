"""Loads the objects that a user names in a config: `package.module:name` or `path/to/file.py:name`."""

import hashlib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from orchestrator.errors import ConfigError
from orchestrator.suggest import suggest

_PREFIX = "sparsefleet_plugin_"


def load_object(spec: str, field: str) -> object:
    """Return the object that `spec` names. Errors name `field`, the config key with this spec.

    A process imports a file only once. A second call returns the same objects, even when the file has changed.

    Raises ConfigError for a spec of another form, for a module or file that is missing or raises during its import,
    and for a name that the module does not define.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        remedy = "write path/to/file.py:name or package.module:name"
        raise ConfigError(field, spec, "it does not name a module and an object", remedy)
    module = load_module(source, spec, field)
    try:
        return getattr(module, name)
    except AttributeError as error:
        remedy = suggest(name, vars(module), f"define {name} there, or name another object")
        raise ConfigError(field, spec, f"{source} has no {name}", remedy) from error


def load_module(source: str, spec: str, field: str) -> ModuleType:
    """Import a module from a `.py` file or by its dotted name. Errors name `field` and `spec`.

    A process imports a file only once. Raises ConfigError when the module is missing or its import raises.
    """
    if source.endswith(".py"):
        return _file_module(Path(source), spec, field)
    return _named_module(source, spec, field)


def shipped_modules() -> tuple[ModuleType, ...]:
    """Return the modules that this process loaded from files. Other processes cannot import them by name."""
    return tuple(module for name, module in sys.modules.items() if name.startswith(_PREFIX))


def _named_module(source: str, spec: str, field: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise _import_error(source, spec, field, error) from error
        raise ConfigError(
            field, spec, f"there is no module {error.name}", "install it, or give a path to a .py file"
        ) from error
    except (Exception, SystemExit) as error:
        raise _import_error(source, spec, field, error) from error


def _file_module(path: Path, spec: str, field: str) -> ModuleType:
    path = path.expanduser().resolve()
    digest = hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()
    stem = re.sub(r"\W", "_", path.stem)
    module_name = f"{_PREFIX}{stem}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    if not path.is_file():
        raise ConfigError(field, spec, f"there is no file {path}", "correct the path")
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    assert module_spec is not None, "a .py file always has a loader"
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    # code in the file may look up its own module during the import, as dataclasses do
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _import_error(str(path), spec, field, error) from error
    return module


def _import_error(source: str, spec: str, field: str, error: BaseException) -> ConfigError:
    return ConfigError(
        field, spec, f"importing {source} raised {type(error).__name__}: {error}", "correct that module"
    )
