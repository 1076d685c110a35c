"""Masks as changes of a known mask: by hand, round trips, lengths, and sections that the encoder does not write."""

from math import comb, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import WireError
from orchestrator.sparsity.change_coding import decode_changes, encode_changes, mask_checksum
from orchestrator.sparsity.payload import Bool, Masked
from orchestrator.sparsity.wire import decode, encode, section_bytes
from tests.support.masks import changes_bytes, mask_of


def item_of(mask: Bool) -> Masked:
    return Masked("m", np.arange(int(mask.sum()), dtype=np.float32), mask)


def moved(known: Bool, num_moved: int, seed: int) -> Bool:
    """The mask after `num_moved` entries were removed and as many were added."""
    rng, mask = np.random.default_rng(seed), known.copy()
    mask[rng.choice(np.flatnonzero(known), num_moved, replace=False)] = False
    mask[rng.choice(np.flatnonzero(~known), num_moved, replace=False)] = True
    return mask


KNOWN = np.arange(40) % 4 == 0
#: the third of the 10 kept entries is removed, and 7, the sixth of the 30 others, is added
MOVED = KNOWN.copy()
MOVED[8], MOVED[7] = False, True


def test_section_by_hand() -> None:
    """Removed: 1 of 10 entries, k = floor(log2(9.5)) = 3, gap 2: 010 1. Added: 1 of 30, k = 4, gap 5: 0101 1."""
    section = encode_changes(item_of(MOVED), KNOWN)
    assert section is not None
    checksum = mask_checksum(KNOWN).to_bytes(4, "little").hex()
    assert section.tobytes().hex() == checksum + "02" + "010a" + "011a"
    assert decode_changes("m", section, KNOWN).tolist() == MOVED.tolist()
    assert section.size == changes_bytes(MOVED, KNOWN)


@given(
    width=st.integers(1, 400),
    density=st.sampled_from([0.1, 0.3, 0.5, 0.8]),
    changed=st.integers(0, 9),
    seed=st.integers(0, 999),
)
@settings(max_examples=100)
def test_mask_survives_the_message(width: int, density: float, changed: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.random(width) < density
    mask = known.copy()
    mask[rng.integers(width, size=changed)] ^= True
    buffer = encode((item_of(mask),), known_masks={"m": known})
    (item,) = decode(buffer, known_masks={"m": known})
    assert isinstance(item, Masked)
    assert item.mask.tolist() == mask.tolist()
    assert len(buffer) <= len(encode((item_of(mask),)))
    (sections,) = section_bytes(buffer)
    if sections.mask_coding == "changes":
        assert sections.mask_bytes == changes_bytes(mask, known)


@pytest.mark.parametrize("density", [0.5, 0.2, 0.05])
def test_changes_of_one_percent_are_coded_close_to_their_entropy(density: float) -> None:
    """A hundredth of the kept entries moved: the entropy is that of the choice of removed and of added entries."""
    width = 200_000
    kept = round(density * width)
    known = np.random.default_rng(0).permutation(width) < kept
    mask = moved(known, kept // 100, 1)
    (sections,) = section_bytes(encode((item_of(mask),), known_masks={"m": known}))
    entropy = (log2(comb(kept, kept // 100)) + log2(comb(width - kept, kept // 100))) / 8
    assert sections.mask_coding == "changes"
    assert entropy < sections.mask_bytes < 1.05 * entropy + 20


def test_many_changes_are_not_coded_as_changes() -> None:
    """10 of 40 entries are kept: 4 changes are at most half of them, 6 are more."""
    assert encode_changes(item_of(moved(KNOWN, 2, 3)), KNOWN) is not None
    assert encode_changes(item_of(moved(KNOWN, 3, 3)), KNOWN) is None
    assert encode_changes(item_of(KNOWN), KNOWN) is None
    assert encode_changes(item_of(KNOWN), KNOWN[:-1]) is None


SECTION = encode_changes(item_of(MOVED), KNOWN)
assert SECTION is not None
DATA = SECTION.tobytes()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "different masks"),
        (b"\0" + DATA[1:], "different masks"),
        (DATA[:4] + b"\x09" + DATA[5:], "too short"),
        (DATA[:4] + b"\x01" + DATA[5:], "too short"),
        (DATA[:4] + b"\x01\0\0", "too many changes for their coding, or none"),
        (DATA + b"\0", "after its last entry"),
        (DATA[:4], "too short"),
        (DATA[:4] + b"\0", "no valid number"),
    ],
)
def test_invalid_section_is_rejected_with_its_cause(data: bytes, match: str) -> None:
    with pytest.raises(WireError, match=f"'m'.*{match}"):
        decode_changes("m", np.frombuffer(data, np.uint8), KNOWN)


def test_changes_need_the_same_mask_at_the_receiver() -> None:
    known = np.random.default_rng(0).random(2000) < 0.3
    buffer = encode((item_of(moved(known, 5, 2)),), known_masks={"m": known})
    assert section_bytes(buffer)[0].mask_coding == "changes"
    for other, match in ((~known, "different masks"), (known[:-1], "does not have"), (None, "does not have")):
        with pytest.raises(WireError, match=match):
            decode(buffer, known_masks={} if other is None else {"m": other})


def test_whole_mask_is_rejected_if_its_changes_are_shorter() -> None:
    known = np.random.default_rng(0).random(2000) < 0.3
    buffer = encode((item_of(moved(known, 5, 2)),))
    assert section_bytes(buffer)[0].mask_coding == "gaps"
    with pytest.raises(WireError, match="changes of the known mask would be shorter"):
        decode(buffer, known_masks={"m": known})


def test_version_1_has_no_changes() -> None:
    known = mask_of(2000, *range(0, 2000, 7))
    buffer = encode((item_of(moved(known, 5, 2)),), known_masks={"m": known}, version=1)
    assert section_bytes(buffer)[0].mask_coding != "changes"
    assert len(decode(buffer, known_masks={"m": known})) == 1
