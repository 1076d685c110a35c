"""Objects named in a config by a user: `package.module:name` or `path/to/file.py:name`."""

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
    """The object that `spec` names; `field` is the config key that holds the spec, for the error.

    A file is run once per process and kept: loading it again gives the same objects, edited or not.
    Raises ConfigError for a spec of another form, for a module or file that is missing or whose import
    raises, and for a name that it does not have.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        raise ConfigError(
            field, spec, "it does not say which object", "write path/to/file.py:name or package.module:name"
        )
    module = load_module(source, spec, field)
    try:
        return getattr(module, name)
    except AttributeError as error:
        remedy = suggest(name, vars(module), f"define {name} there, or name another object")
        raise ConfigError(field, spec, f"{source} has no {name}", remedy) from error


def load_module(source: str, spec: str, field: str) -> ModuleType:
    """The module in a `.py` file, or of a dotted name; `spec` and `field` are for the error.

    A file is run once per process and kept. Raises ConfigError when it is missing or its import raises.
    """
    if source.endswith(".py"):
        return _file_module(Path(source), spec, field)
    return _named_module(source, spec, field)


def shipped_modules() -> tuple[ModuleType, ...]:
    """The modules loaded from files in this process: other processes cannot import them by name."""
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
    # classes in the file may look their own module up while it runs, as dataclasses do
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
