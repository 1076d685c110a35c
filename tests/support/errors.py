"""Checks errors by type, field and value. The wording of a message may change."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.errors import ConfigError, RequestError


@contextmanager
def rejects(field: str, value: object, kind: type[RequestError] = ConfigError) -> Iterator[None]:
    """Check that the block raises this type of error, with this field and this value."""
    with pytest.raises(kind) as caught:
        yield
    assert (caught.value.field, caught.value.value) == (field, value)
