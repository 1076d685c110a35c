"""Prepare the processes of a job: set the variables of `submit --env`, and change to the user's files."""

import os
from collections.abc import Mapping
from typing import Any

from ray.experimental.internal_kv import _internal_kv_get

from orchestrator.cluster.shipping import enter_files
from orchestrator.cluster.variables import KEY_VARIABLE, values_of

#: seconds that the head has to answer
_TIMEOUT_S = 30


def prepare_worker() -> None:
    """Set the variables of this worker process, which is connected to Ray, and change to the user's files.

    Ray calls this in every worker process of the job before it runs anything there (`WORKER_HOOK`).
    """
    enter_files()
    if key := os.environ.get(KEY_VARIABLE):
        os.environ.update(values_of(_internal_kv_get(key)))


def variables_of_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values that were sent to this job; empty if there are none. The process need not be connected to Ray.

    Raises ClusterError if the store does not have them any more.
    """
    if key := environment.get(KEY_VARIABLE):
        return values_of(_store(environment).internal_kv_get(key.encode(), None, timeout=_TIMEOUT_S))
    return {}


def delete_variables(environment: Mapping[str, str]) -> None:
    """Delete the values of this job from the store."""
    if key := environment.get(KEY_VARIABLE):
        _store(environment).internal_kv_del(key.encode(), False, None, timeout=_TIMEOUT_S)


def _store(environment: Mapping[str, str]) -> Any:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    return GcsClient(address=environment["RAY_ADDRESS"])  # Ray sets this variable for a job
