"""The variables of `submit --env` in the processes of a job."""

import os
from typing import Any

import pytest
from ray.experimental import internal_kv

from orchestrator.cluster import ray_job_process
from orchestrator.cluster.ray_job_process import delete_variables, prepare_worker, variables_of_job
from orchestrator.cluster.variables import KEY_VARIABLE, SentVariables
from orchestrator.errors import ClusterError

VALUES = {"A": "s3cr3t", "B": "", "C": 'two "words"\nand ä'}


class Store:
    """The store of a cluster, with the methods of Ray's client that a job uses."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def internal_kv_get(self, key: bytes, namespace: None, timeout: float = 0) -> bytes | None:
        """The stored bytes."""
        return self.entries.get(key)

    def internal_kv_del(self, key: bytes, by_prefix: bool, namespace: None, timeout: float = 0) -> None:
        """Delete one entry."""
        assert not by_prefix
        del self.entries[key]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, to which this process is connected as a job and as a worker."""
    found = Store()
    monkeypatch.setattr(ray_job_process, "_store", lambda environment: found)
    monkeypatch.setattr(internal_kv, "global_gcs_client", found)
    return found


def _sent(store: Store) -> dict[str, str]:
    """Store the values, and return the environment of the job."""
    sent = SentVariables(VALUES)
    store.entries[sent.key.encode()] = sent.content()
    return {KEY_VARIABLE: sent.key}


def test_job_gets_the_values(store: Store) -> None:
    assert variables_of_job(_sent(store)) == VALUES
    assert variables_of_job({}) == {}


def test_worker_sets_the_values(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, Any] = _sent(store)
    monkeypatch.setattr(os, "environ", environment)
    prepare_worker()
    assert environment.items() > VALUES.items()


def test_process_without_a_key_needs_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    prepare_worker()
    delete_variables({})


def test_deleted_values_are_an_error(store: Store) -> None:
    environment = _sent(store)
    delete_variables(environment)
    assert store.entries == {}
    with pytest.raises(ClusterError, match="--env"):
        variables_of_job(environment)
