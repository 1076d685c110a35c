"""Decoding images with Pillow."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import Source, decode_all
from orchestrator.errors import DataError


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def decode(
    sources: list[Source], config: DataConfig | None = None, like: np.ndarray | None = None
) -> np.ndarray:
    return decode_all(config or DataConfig(), sources, lambda i: f"row {i}", like)


COLOUR = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # [H, W, C]
GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def test_colour_images_are_channels_first() -> None:
    assert np.array_equal(decode([png(COLOUR)]), COLOUR.transpose(2, 0, 1)[None])


def test_grey_images_have_one_channel() -> None:
    assert np.array_equal(decode([png(GREY)]), GREY[None, None])


def test_the_first_image_decides_between_grey_and_colour() -> None:
    assert np.array_equal(decode([png(COLOUR), png(GREY)])[1], np.repeat(GREY[None], 3, axis=0))
    same = np.repeat(GREY[:, :, None], 3, axis=2)
    assert np.array_equal(decode([png(GREY), png(same)])[1], GREY[None])


def test_other_modes_become_colour() -> None:
    for mode in ("P", "RGBA", "CMYK"):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode).save(buffer, "TIFF")
        assert decode([buffer.getvalue()])[0, :, 0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_many_images_keep_their_order() -> None:
    """More than one thread's block."""
    images = decode([png(np.full((1, 2), i % 256, dtype=np.uint8)) for i in range(1200)])
    assert images[:, 0, 0, 0].tolist() == [i % 256 for i in range(1200)]


def test_a_test_part_takes_the_form_of_the_training_part() -> None:
    train = decode([png(GREY)])
    assert decode([png(COLOUR)], like=train).shape == (1, 1, 2, 3)
    with pytest.raises(DataError, match="row 0 is 2x2, the first image 3x2") as caught:
        decode([png(GREY[:, :2])], like=train)
    assert caught.value.field == "data.image_size"


def test_image_size_makes_differing_sizes_alike() -> None:
    images = decode([png(COLOUR), png(np.full((5, 4, 3), 9, dtype=np.uint8))], DataConfig(image_size=4))
    assert images.shape == (2, 3, 4, 4)
    assert (images[1] == 9).all()


def test_paths_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(GREY))
    assert np.array_equal(decode([tmp_path / "a.png"])[0, 0], GREY)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "row 1 is not a readable image"),
        (b"not an image", "row 1 is not a readable image"),
        (png(np.zeros((40, 40), dtype=np.uint8))[:-30], "row 1 is not a readable image"),
        (Path("/nowhere/a.png"), "row 1 is not a readable image"),
        (png(np.zeros((2, 3), dtype=np.uint16)), "row 1 has pixels of kind I;16"),
        (png(GREY[:1]), "row 1 is 3x1, the first image 3x2"),
    ],
)
def test_refusals_name_the_image(source: Source, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode([png(GREY), source])


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="there are no images"):
        decode([])
