"""Actor classes whose actors do not start in a process with other source of the package, and the error of this start.

A node of a cluster may have another release. Its code could compute other numbers, or write other records to MLflow.
"""

import re
from typing import Any

import ray

from orchestrator.errors import ClusterError, SparsefleetError, without_colours
from orchestrator.plugins.package_source import package_source, require_same_source

_OWN_ERROR = f"{ClusterError.__module__}.{ClusterError.__name__}: "
#: what Ray writes if a worker cannot load the class or the arguments of an actor, for example from an older release
_NOT_LOADED = ("failed to import on the worker", "could not be computed")
_NODE = re.compile(r"\bip=([^,)\s]+)")


def actor_class(cls: type, **options: Any) -> Any:
    """Return Ray's actor class for `cls`, with these options of `ray.remote`.

    The constructor of an actor raises ClusterError if its process imports other source than this process. So no method
    runs there. `start_error` finds the error.
    """
    source = package_source()

    class Checked(cls):  # type: ignore[misc] # Ray sends this class by value, and `cls` by name
        def __init__(self, *arguments: Any) -> None:
            require_same_source(source)
            super().__init__(*arguments)

    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Checked, name, getattr(cls, name))
    return ray.remote(**options)(Checked) if options else ray.remote(Checked)


def start_error(error: Exception, who: str) -> SparsefleetError | None:
    """Return the one-line error for an actor whose constructor failed; None if the actor was lost in another way.

    `who` names the actor. Ray gives only the text of the constructor's error, which ends with its type and message.
    """
    if not getattr(error, "actor_init_failed", False):
        return None
    text = without_colours(str(error))
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
    if last.startswith(_OWN_ERROR):
        return ClusterError(last.removeprefix(_OWN_ERROR))
    if any(mark in text for mark in _NOT_LOADED):
        node = _NODE.search(text)
        return ClusterError(
            f"{who} cannot load the code of Sparsefleet on node {node[1] if node else 'unknown'} ({last}); "
            "install the same version on all nodes, or start the command with `sparsefleet submit`"
        )
    return SparsefleetError(f"{who} cannot start: {last}")
