"""Labels and client ids of any type become integers or strings."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.data.loaders.values import integers_or_names
from orchestrator.errors import DataError


def _converted(values: NDArray[Any]) -> NDArray[np.generic]:
    return integers_or_names(values, "data.root", "set.npz", "array y")


@pytest.mark.parametrize(
    "values", [np.array([3, -1]), np.array([3, 1], np.uint8), np.array(["ant", "bee"])], ids=str
)
def test_integers_and_strings_are_returned_unchanged(values: NDArray[Any]) -> None:
    assert _converted(values) is values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([True, False]), [1, 0]),
        (np.array([2.0, -3.0]), [2, -3]),
        (np.array([1.0], np.float16), [1]),
        (np.array([2.0**53 - 1]), [2**53 - 1]),
        (np.zeros(0), []),
    ],
)
def test_booleans_and_whole_floats_become_integers(values: NDArray[Any], expected: list[int]) -> None:
    found = _converted(values)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.array([1.0, 0.5, 0.25]), "0.5"),
        (np.array([1.0, np.nan]), "nan"),
        (np.array([np.inf]), "inf"),
        (np.array([2.0**53]), "9.0072e+15"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
    ],
)
def test_other_values_are_rejected_with_the_field_and_the_source(values: NDArray[Any], named: str) -> None:
    with pytest.raises(DataError) as caught:
        _converted(values)
    assert (caught.value.field, caught.value.value) == ("data.root", "set.npz")
    assert "array y" in caught.value.problem
    assert named in caught.value.problem
