"""Interprets the errors of MLflow's client."""

from orchestrator.errors import SparsefleetError, hide_passwords


def is_rejection(error: Exception | None) -> bool:
    """Whether a retry cannot help, because the store rejects the request itself (HTTP 4xx)."""
    status = http_status(error)
    return isinstance(error, SparsefleetError) or (400 <= status < 500 and status not in (408, 429))


def http_status(error: Exception | None) -> int:
    """Return the HTTP status of an error of MLflow; 500 for any other error."""
    status: int = getattr(error, "get_http_status_code", lambda: 500)()
    return status


def reason(error: BaseException | None) -> str:
    """Return one short line: the system error in the chain of causes, if there is one, else the error itself."""
    shown, cause = error, error
    while cause is not None:
        if isinstance(cause, OSError):
            shown = cause
        cause = cause.__cause__ or cause.__context__
    return hide_passwords(f"{type(shown).__name__}: {shown}".splitlines()[0])[:200]
