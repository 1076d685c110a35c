"""The exception tree: exit codes, and the text of a RequestError."""

import pytest

from orchestrator import errors
from orchestrator.errors import RequestError, SparsefleetError

CODES = {
    "SparsefleetError": 1,
    "RequestError": 2,
    "ConfigError": 2,
    "UnknownKeyError": 2,
    "DataError": 2,
    "PartitionError": 2,
    "ModelError": 2,
    "AddressError": 1,
    "ResourceError": 2,
    "WireError": 1,
    "CheckpointError": 1,
    "TrackingError": 1,
    "ClusterError": 1,
    "ActorsLostError": 1,
    "RoundError": 1,
}


def test_docstring_lists_every_error_and_exit_codes_are_fixed() -> None:
    types = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    found = {name: kind for name, kind in types.items() if issubclass(kind, SparsefleetError)}
    assert {name: kind.exit_code for name, kind in found.items()} == CODES
    for name in found:
        assert f"{name} " in str(errors.__doc__)


def test_request_error_contains_field_value_problem_and_remedy() -> None:
    error = RequestError("training.lr", -1, "negative", "raise it")
    assert (error.field, error.value) == ("training.lr", -1)
    assert (error.problem, error.remedy) == ("negative", "raise it")
    assert str(error) == "training.lr=-1: negative; raise it"


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if code == 2])
def test_invalid_requests_are_value_errors(name: str) -> None:
    assert issubclass(getattr(errors, name), ValueError)
