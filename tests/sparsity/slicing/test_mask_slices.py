"""Slices of masks in each coding against slices of the decoded mask."""

import numpy as np
import pytest

from orchestrator.errors import WireError
from orchestrator.sparsity.mask_coding import encode_mask
from orchestrator.sparsity.payload import Bool, Masked
from orchestrator.sparsity.slicing.mask_slices import decode_mask_slice
from orchestrator.sparsity.wire_frame import ItemHeader, MaskCoding, WireVersion

WIDTH = 5003


def _mask(density: float, seed: int = 0) -> Bool:
    return np.random.default_rng(seed).random(WIDTH) < density


def _moved(mask: Bool, count: int) -> Bool:
    """The mask with `count` removed and `count` added entries."""
    rng = np.random.default_rng(5)
    moved = mask.copy()
    moved[rng.choice(np.flatnonzero(mask), count, replace=False)] = False
    moved[rng.choice(np.flatnonzero(~mask), count, replace=False)] = True
    return moved


#: coding -> the mask, the known mask and the format version with which the encoder chooses the coding
CASES: dict[MaskCoding, tuple[Bool, Bool | None, WireVersion]] = {
    "implicit": (_mask(0.3), _mask(0.3), 2),
    "full": (_mask(1.1), None, 2),
    "bitmap": (_mask(0.45), None, 2),
    "indices": (_mask(0.02), None, 1),
    "gaps": (_mask(0.1), None, 2),
    "false_gaps": (_mask(0.9), _mask(0.5), 2),
    "changes": (_moved(_mask(0.2), 15), _mask(0.2), 2),
}


@pytest.mark.parametrize("coding", CASES)
@pytest.mark.parametrize(("start", "stop"), [(0, WIDTH), (0, 1), (1234, 3333), (4000, WIDTH), (77, 77)])
def test_slice_equals_the_slice_of_the_mask(coding: MaskCoding, start: int, stop: int) -> None:
    mask, known, version = CASES[coding]
    item = Masked("m", np.zeros(int(mask.sum()), np.float32), mask)
    chosen, extra, section = encode_mask(item, known, version)
    assert chosen == coding
    header = ItemHeader("m", "masked", chosen, item.values.size, WIDTH, extra)
    num_before, indices = decode_mask_slice(header, section, known, start, stop)
    assert num_before == mask[:start].sum()
    assert indices.tolist() == np.flatnonzero(mask[start:stop]).tolist()


@pytest.mark.parametrize("coding", ["implicit", "changes"])
@pytest.mark.parametrize("known", [None, np.ones(3, np.bool_)])
def test_coding_that_refers_to_a_missing_mask_is_rejected(coding: MaskCoding, known: Bool | None) -> None:
    header = ItemHeader("m", "masked", coding, 4, WIDTH)
    with pytest.raises(WireError, match="does not have the mask"):
        decode_mask_slice(header, np.empty(0, np.uint8), known, 0, 10)
