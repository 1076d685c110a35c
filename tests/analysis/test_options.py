"""The options of a comparison."""

import math
from typing import Any

import pytest

from orchestrator.analysis import CompareOptions
from orchestrator.errors import RequestError


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"metric": "loss"}, "--metric", "loss"),
        ({"cost": "money"}, "--cost", "money"),
        ({"upload_caps": [0.0]}, "--at-upload", 0.0),
        ({"upload_caps": [math.inf]}, "--at-upload", math.inf),
        ({"targets": [90]}, "--to-accuracy", 90),
        ({"targets": [0.0]}, "--to-accuracy", 0.0),
        ({"targets": [math.nan]}, "--to-accuracy", math.nan),
    ],
)
def test_invalid_option_is_rejected(options: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        CompareOptions(**options)
    assert (caught.value.field, str(caught.value.value)) == (field, str(value))
