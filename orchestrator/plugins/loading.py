"""Loads the objects that a user names in a config: `package.module:name` or `path/to/file.py:name`."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.plugins.importer import add_sources, forget_sources, module_name
from orchestrator.plugins.source_files import SourceFiles, read_sources
from orchestrator.suggest import suggest

#: other places of the files that a config names, by their path in the config
_PLACES: ContextVar[Mapping[str, Path]] = ContextVar("places of users' files", default={})  # noqa: B039
#: the sources of all files that this process loaded
_LOADED: dict[Path, SourceFiles] = {}


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


def load_function(spec: str, field: str, arguments: str) -> Callable[..., Any]:
    """Return the function that `spec` names, as `load_object` does. `arguments` are its parameters, for the remedy.

    Raises ConfigError also for an object that cannot be called.
    """
    function = load_object(spec, field)
    if not callable(function):
        problem = f"it is a {type(function).__name__}, not a function"
        raise ConfigError(field, spec, problem, f"name a function ({arguments})")
    return function


def load_module(source: str, spec: str, field: str) -> ModuleType:
    """Import a module from a `.py` file or by its dotted name. Errors name `field` and `spec`.

    A process imports a file only once. Raises ConfigError when the module is missing or its import raises.
    """
    if source.endswith(".py"):
        return _file_module(source, spec, field)
    return _named_module(source, spec, field)


@contextmanager
def relocated(places: Mapping[str, Path]) -> Iterator[None]:
    """Inside the block, look for a file that a config names at another place. `places` maps its path in the config."""
    token = _PLACES.set({**_PLACES.get(), **places})
    try:
        yield
    finally:
        _PLACES.reset(token)


def current_places() -> dict[str, Path]:
    """Return the other places of users' files that this context uses, for `relocated` in another process."""
    return dict(_PLACES.get())


def file_place(source: str) -> Path:
    """Return the absolute path of a file that a config names. Raises RuntimeError for an unknown home folder."""
    return (_PLACES.get().get(source) or Path(source).expanduser()).resolve()


def sources_of(spec: str) -> SourceFiles | None:
    """Return the sources of the file that `spec` names: as this process loaded the file, else as the file is now.

    Returns None if `spec` names no file, and for a file that cannot be read.
    """
    source = file_of(spec)
    if source is None:
        return None
    try:
        path = file_place(source)
        return replace(_LOADED[path], named=source) if path in _LOADED else read_sources(source, path)
    except (OSError, RuntimeError):
        return None


def file_of(spec: str) -> str | None:
    """Return the path in `path/to/file.py` or `path/to/file.py:name`; None for any other text."""
    source, colon, name = spec.rpartition(":")
    source = source if colon and name else spec
    return source if source.endswith(".py") else None


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


def _file_module(source: str, spec: str, field: str) -> ModuleType:
    try:
        path = file_place(source)
    except RuntimeError as error:
        raise ConfigError(field, spec, str(error), "write the full path") from error
    name = module_name(path)
    sources = None if name in sys.modules else _add_file(source, path, spec, field)
    try:
        module = importlib.import_module(name)  # waits until another thread has imported the file
    except (Exception, SystemExit) as error:
        if sources is not None:
            forget_sources(sources)
        raise _import_error(str(path), spec, field, error) from error
    if sources is not None:
        _LOADED[path] = sources
    return module


def _add_file(source: str, path: Path, spec: str, field: str) -> SourceFiles:
    if not path.is_file():
        raise ConfigError(field, spec, f"there is no file {path}", "correct the path")
    try:
        return add_sources(read_sources(source, path))
    except OSError as error:
        raise _import_error(str(path), spec, field, error) from error


def _import_error(source: str, spec: str, field: str, error: BaseException) -> ConfigError:
    return ConfigError(
        field, spec, f"importing {source} raised {type(error).__name__}: {error}", "correct that module"
    )
