"""The interpretation of errors of MLflow's client."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE

from orchestrator.errors import ConfigError
from orchestrator.tracking.mlflow.errors import http_status, is_rejection, reason


@pytest.mark.parametrize(
    ("error", "status", "rejected"),
    [
        (MlflowException("x", INVALID_PARAMETER_VALUE), 400, True),
        (MlflowException("x", PERMISSION_DENIED), 403, True),
        (MlflowException("x", TEMPORARILY_UNAVAILABLE), 503, False),
        (ConnectionError("x"), 500, False),
        (ConfigError("tracking.experiment", "e", "it is deleted", "choose another"), 500, True),
        (None, 500, False),
    ],
)
def test_only_a_rejected_request_is_not_retried(error: Exception | None, status: int, rejected: bool) -> None:
    assert (http_status(error), is_rejection(error)) == (status, rejected)


def test_reason_is_one_short_line_of_the_system_error_without_a_password() -> None:
    error = RuntimeError("two\nlines")
    assert reason(error) == "RuntimeError: two"
    error.__cause__ = OSError("http://ann:secret@host refused " + "x" * 300)
    assert reason(error).startswith("OSError: http://***@host refused")
    assert len(reason(error)) == 200
