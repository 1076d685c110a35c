"""The factory of MLflow clients takes the credentials of its process along, and nothing else."""

import os
import pickle

import pytest

from orchestrator.tracking.credentials import VARIABLES, client_factory


@pytest.fixture
def ann(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The credentials of this process: a user and a password, but no token."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    credentials = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "a long one"}
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    return credentials


def test_factory_sets_the_credentials_in_another_process(
    ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is a process without credentials that unpickles the factory, as an actor does."""
    sent = pickle.dumps(client_factory())
    for name in ann:
        monkeypatch.delenv(name)
    client = pickle.loads(sent)("http://tracking:5000")  # noqa: S301
    assert client.tracking_uri == "http://tracking:5000"
    assert {name: os.environ.get(name) for name in VARIABLES} == {**ann, "MLFLOW_TRACKING_TOKEN": None}


def test_factory_contains_no_other_variable(ann: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_KEY", "another secret")
    sent = pickle.dumps(client_factory())
    assert b"another secret" not in sent
    assert all(value.encode() in sent for value in ann.values())


def test_process_without_credentials_keeps_those_of_the_other_process(
    ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name in ann:
            patch.delenv(name)
        factory = client_factory()
    factory("http://tracking:5000")
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ann"
