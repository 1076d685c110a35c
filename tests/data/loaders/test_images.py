"""Decoding of images with Pillow: modes, transparency, sizes, notes and rejected images."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import EncodedImages, Source, decode_parts
from orchestrator.errors import DataError


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(sources: list[Source]) -> EncodedImages:
    return EncodedImages(sources, [f"row {i}" for i in range(len(sources))])


def decode(sources: list[Source], config: DataConfig | None = None) -> np.ndarray:
    return decode_parts(config or DataConfig(), [encoded(sources)])[0][0]


def notes(*parts: list[Source]) -> tuple[str, ...]:
    return decode_parts(DataConfig(), [encoded(part) for part in parts])[1]


COLOUR = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # [H, W, C]
GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def test_colour_images_are_channels_first() -> None:
    assert np.array_equal(decode([png(COLOUR)]), COLOUR.transpose(2, 0, 1)[None])


def test_grey_images_have_one_channel() -> None:
    assert np.array_equal(decode([png(GREY)]), GREY[None, None])


@pytest.mark.parametrize("grey_at", [0, 1, 2])
def test_one_grey_image_among_colour_images_becomes_colour(grey_at: int) -> None:
    sources: list[Source] = [png(COLOUR)] * 3
    sources[grey_at] = png(GREY)
    images = decode(sources)
    for index in range(3):
        grey, colour = np.repeat(GREY[None], 3, axis=0), COLOUR.transpose(2, 0, 1)
        assert np.array_equal(images[index], grey if index == grey_at else colour)
    (note,) = notes(sources)
    assert "1 grey and 2 colour" in note
    assert notes([png(COLOUR)] * 3) == notes([png(GREY)]) == ()


@pytest.mark.parametrize("grey_first", [True, False])
def test_one_colour_image_in_either_part_makes_both_parts_colour(grey_first: bool) -> None:
    parts = [encoded([png(GREY)]), encoded([png(COLOUR)])]
    images, found = decode_parts(DataConfig(), parts if grey_first else parts[::-1])
    assert [part.shape for part in images] == [(1, 3, 2, 3)] * 2
    assert np.array_equal(images[0 if grey_first else 1][0], np.repeat(GREY[None], 3, axis=0))
    (note,) = found
    assert "1 grey and 1 colour" in note


def test_transparent_pixels_are_composited_on_white() -> None:
    """Red (255, 0, 0) stays red at alpha 255, is white at alpha 0, and is 255, 204, 204 at alpha 51 (a fifth)."""
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[..., 0] = 255
    rgba[0, :, 3] = (255, 0, 51)
    images = decode([png(rgba)])
    assert images[0].transpose(1, 2, 0).tolist() == [[[255, 0, 0], [255, 255, 255], [255, 204, 204]]]
    assert "1 image with an alpha channel" in notes([png(rgba)])[0]


def test_grey_images_with_alpha_stay_grey() -> None:
    """Black at alpha 0, 51 and 255 becomes white, 204 and black."""
    alpha = np.array([[[0, 0], [0, 51], [0, 255]]], dtype=np.uint8)
    buffer = io.BytesIO()
    Image.frombytes("LA", (3, 1), alpha.tobytes()).save(buffer, "PNG")
    assert decode([buffer.getvalue()]).tolist() == [[[[255, 204, 0]]]]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour_becomes_white(mode: str) -> None:
    """Colour 0 is black and marked as transparent."""
    image = Image.new(mode, (2, 1), 0)
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), {"P": 1, "L": 9, "RGB": (0, 0, 255)}[mode])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    first, second = decode([buffer.getvalue()])[0, :, 0, :].T.tolist()
    assert first == ([255] if mode == "L" else [255] * 3)
    assert second == ([9] if mode == "L" else [0, 0, 255])


def test_only_the_first_frame_is_read_and_a_note_names_the_image() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("L", (2, 1), value) for value in (7, 200)]
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    assert decode([png(GREY[:1, :2]), buffer.getvalue()])[1].tolist() == [[[7, 7]]]
    (note,) = notes([png(GREY[:1, :2]), buffer.getvalue()])
    assert note.startswith("1 image with several frames")
    assert "row 1" in note


def test_other_modes_become_rgb() -> None:
    for mode in ("P", "RGBA", "CMYK"):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode).save(buffer, "TIFF")
        assert decode([buffer.getvalue()])[0, :, 0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_many_images_keep_their_order() -> None:
    """1200 images are more than one thread's block."""
    images = decode([png(np.full((1, 2), i % 256, dtype=np.uint8)) for i in range(1200)])
    assert images[:, 0, 0, 0].tolist() == [i % 256 for i in range(1200)]


def test_test_image_of_another_size_is_rejected() -> None:
    with pytest.raises(DataError, match=r"row 0 is 2x2.* 3x2") as caught:
        decode_parts(DataConfig(), [encoded([png(GREY)]), encoded([png(GREY[:, :2])])])
    assert caught.value.field == "data.image_size"


def test_image_size_resizes_images_of_different_sizes() -> None:
    images = decode([png(COLOUR), png(np.full((5, 4, 3), 9, dtype=np.uint8))], DataConfig(image_size=4))
    assert images.shape == (2, 3, 4, 4)
    assert (images[1] == 9).all()


def test_paths_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(GREY))
    assert np.array_equal(decode([tmp_path / "a.png"])[0, 0], GREY)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"", "row 1 is not a readable image"),
        (b"not an image", "row 1 is not a readable image"),
        (png(np.zeros((40, 40), dtype=np.uint8))[:-30], "row 1 is not a readable image"),
        (Path("/nowhere/a.png"), "row 1 is not a readable image"),
        (png(np.zeros((2, 3), dtype=np.uint16)), "row 1 has pixels of mode I;16"),
        (png(GREY[:1]), "row 1 is 3x1"),
    ],
)
def test_unreadable_image_is_rejected_by_name(source: Source, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        decode([png(GREY), source])
    assert problem in caught.value.problem


def test_empty_list_of_images_is_rejected() -> None:
    with pytest.raises(DataError, match="no images") as caught:
        decode([])
    assert caught.value.field == "data.root"


def test_images_larger_than_the_bound_are_rejected_before_they_are_decoded() -> None:
    """A black image of 4 megapixels has a few kilobytes: four such images take 16 MB, and one with alpha as much."""
    image = png(np.zeros((2000, 2000), dtype=np.uint8))
    small = DataConfig(name="parquet", root=Path("data"), max_gib=15.9e6 / 2**30)
    for number in (1, 4):
        with pytest.raises(DataError) as caught:
            decode_parts(small, [EncodedImages([image] * number, ["row"] * number)])
        assert caught.value.field == "data.max_gib"
    enough = DataConfig(name="parquet", root=Path("data"), max_gib=16.1e6 / 2**30)
    (images,), _ = decode_parts(enough, [EncodedImages([image] * 4, ["row"] * 4)])
    assert images.nbytes == 16_000_000
