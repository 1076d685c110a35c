"""The closed form of message lengths, compared with a computation by hand."""

import numpy as np

from orchestrator.contract.closed_form import closed_form_bytes
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar


def test_closed_form_equals_the_computation_by_hand() -> None:
    """The message header has 12 bytes. An item header has 16 bytes and the name, padded to a multiple of 4.

    The mask keeps 3 of 80 entries, with gaps of 0, 9 and 68. Their mean of 25.7 gives 4 low bits for each gap, and the
    further bits 1, 1 and 00001. That is 1 byte for the count and 3 bytes for 19 bits, against 10 bytes for a bitmap.
    """
    mask = np.zeros(80, np.bool_)
    mask[[0, 10, 79]] = True
    values = np.zeros(5, np.float32)
    masked = Masked("theta", values, mask)
    assert closed_form_bytes((masked,), {}) == 12 + 24 + 20 + 4
    assert closed_form_bytes((masked,), {"theta": mask}) == 12 + 24 + 20
    assert closed_form_bytes((masked,), {"theta": ~mask}) == 12 + 24 + 20 + 4
    assert closed_form_bytes((masked,), {}, value_dtype="float16") == 12 + 24 + 10 + 4
    assert closed_form_bytes((masked,), {}, value_dtype="int8") == 12 + 24 + (4 + 5) + 4
    others = (Dense("a", values), Bits("bits", np.arange(9) % 2 == 0), Scalar("loss!", 1.0))
    assert closed_form_bytes(others, {}) == 12 + (20 + 20) + (20 + 2) + (24 + 8)
    assert closed_form_bytes((Bits("bits", mask),), {}) == 12 + 20 + 4
    assert closed_form_bytes((Bits("bits", mask),), {}, version=1) == 12 + 20 + 10


def test_masks_have_the_shorter_coding() -> None:
    """A third of 30 entries with gaps of 2 and 0: 10 low bits and 20 further ones would have 1 + 4 bytes."""
    values = np.zeros(30, np.float32)
    headers = 12 + 20 + 4 * 30
    third = np.arange(30) % 3 == 2
    assert closed_form_bytes((Masked("m", values, third),), {}) == headers + 4
    assert closed_form_bytes((Masked("m", values, np.arange(30) < 15),), {}) == headers + 4
    assert closed_form_bytes((Masked("m", values, np.arange(30) != 29),), {}) == headers + 1 + 1
    assert closed_form_bytes((Masked("m", values, np.zeros(30, np.bool_)),), {}) == headers + 1
    assert closed_form_bytes((Masked("m", values, np.ones(30, np.bool_)),), {}) == headers


def test_version_1_has_varints() -> None:
    """The gaps 0, 9 and 128 have 1, 1 and 2 bytes; a bitmap of 160 entries has 20."""
    mask = np.zeros(160, np.bool_)
    mask[[0, 10, 139]] = True
    assert closed_form_bytes((Masked("m", np.zeros(3, np.float32), mask),), {}, version=1) == 12 + 20 + 12 + 4
