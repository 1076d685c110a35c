"""The closed form of message lengths, compared with a computation by hand."""

import numpy as np

from orchestrator.contract.closed_form import closed_form_bytes
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar


def test_closed_form_equals_the_computation_by_hand() -> None:
    """The message header has 12 bytes. An item header has 16 bytes and the name, padded to a multiple of 4.

    The mask keeps 3 of 80 entries, with gaps of 0, 9 and 68: one byte for each gap, against 10 bytes for a bitmap.
    """
    mask = np.zeros(80, np.bool_)
    mask[[0, 10, 79]] = True
    values = np.zeros(5, np.float32)
    masked = Masked("theta", values, mask)
    assert closed_form_bytes((masked,), {}) == 12 + 24 + 20 + 3
    assert closed_form_bytes((masked,), {"theta": mask}) == 12 + 24 + 20
    assert closed_form_bytes((masked,), {"theta": ~mask}) == 12 + 24 + 20 + 3
    assert closed_form_bytes((masked,), {}, value_bytes=2) == 12 + 24 + 10 + 3
    others = (Dense("a", values), Bits("bits", np.zeros(9, np.bool_)), Scalar("loss!", 1.0))
    assert closed_form_bytes(others, {}) == 12 + (20 + 20) + (20 + 2) + (24 + 8)
