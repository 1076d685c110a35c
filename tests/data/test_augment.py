"""Random crop and flip."""

from collections import Counter

import numpy as np
import pytest

from orchestrator.data.augment import crop_flip


def candidates(image: np.ndarray, padding: int) -> list[np.ndarray]:
    """Slow oracle: every crop of the padded image [C, H, W], and its mirror image."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return crops + [crop[:, :, ::-1] for crop in crops]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_result_is_a_crop_or_its_mirror_image(dtype: type) -> None:
    """The pixels are distinct, so that the 2 * 3 * 3 outcomes differ. All occur, about equally often."""
    image = np.arange(1, 2 * 3 * 4 + 1, dtype=dtype).reshape(2, 3, 4)
    results = crop_flip(np.repeat(image[None], 1800, axis=0), np.random.default_rng(0), padding=1)
    assert results.dtype == dtype
    expected = {c.tobytes() for c in candidates(image, 1)}
    seen = Counter(r.tobytes() for r in results)
    assert set(seen) == expected
    assert min(seen.values()) > 50


def test_each_image_keeps_its_own_pixels() -> None:
    images = np.full((50, 1, 4, 4), 1, dtype=np.uint8) * np.arange(1, 51, dtype=np.uint8)[:, None, None, None]
    results = crop_flip(images, np.random.default_rng(3))
    for number, result in enumerate(results, start=1):
        assert set(np.unique(result)) <= {0, number}


def test_without_padding_images_are_only_flipped() -> None:
    images = np.arange(2 * 6, dtype=np.uint8).reshape(2, 1, 2, 3)
    before = images.copy()
    images.flags.writeable = False
    for result, image in zip(crop_flip(images, np.random.default_rng(0), padding=0), before, strict=True):
        assert np.array_equal(result, image) or np.array_equal(result, image[:, :, ::-1])
    assert np.array_equal(images, before)


def test_equal_streams_give_equal_results() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    first, second = (crop_flip(images, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_empty_batch() -> None:
    assert crop_flip(np.zeros((0, 3, 8, 8), dtype=np.uint8), np.random.default_rng(0)).shape == (0, 3, 8, 8)
