"""Encoded images -> one uint8 array, through Pillow."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Images
from orchestrator.errors import DataError

_GREY = {"1", "L", "La", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}

_BLOCK = 512  # images a thread decodes at a time

Source = bytes | Path


def decode_all(
    config: DataConfig,
    sources: Sequence[Source],
    origin: Callable[[int], str],
    like: Images | None = None,
) -> NDArray[np.uint8]:
    """Decode to uint8[N, C, H, W]: C = 1 when the first image is grey, else 3, and the others are converted.

    All must have the first image's size, or are resized to `data.image_size`. `like` (the training images)
    stands in for the first image, so that a test part gets the same form. `origin(i)` names source i in
    errors. Raises DataError for an image that cannot be decoded, has 16 bits a channel, or another size.
    """
    if not sources:
        raise DataError("data.root", config.root, "there are no images", "give some")
    if like is None:
        first = _open(config, sources[0], origin(0))
        mode = _mode(config, first, origin(0))
        size = first.size
    else:
        mode = "L" if like.shape[1] == 1 else "RGB"
        size = (like.shape[3], like.shape[2])
    if config.image_size is not None:
        size = (config.image_size, config.image_size)
    out = np.empty((len(sources), 1 if mode == "L" else 3, size[1], size[0]), dtype=np.uint8)

    def decode_block(start: int) -> None:
        for index in range(start, min(start + _BLOCK, len(sources))):
            image = _fitted(config, _open(config, sources[index], origin(index)), mode, size, origin(index))
            out[index] = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode_block, range(0, len(sources), _BLOCK)):
            pass
    return out


def resize(images: Images, size: int) -> Images:
    """[N, C, H, W] -> [N, C, size, size] of the same dtype, bilinear, each channel on its own."""
    num_images, channels = images.shape[:2]
    out = np.empty((num_images, channels, size, size), dtype=images.dtype)
    for index in range(num_images):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(images[index, channel]))
            out[index, channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return out


def _open(config: DataConfig, source: Source, origin: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            "data.root", config.root, f"{origin} is not a readable image ({error})", "mend it"
        ) from error
    return image


def _fitted(
    config: DataConfig, image: Image.Image, mode: str, size: tuple[int, int], origin: str
) -> Image.Image:
    _mode(config, image, origin)
    if image.size == size:
        return image.convert(mode)
    if config.image_size is None:
        got, wanted = (f"{width}x{height}" for width, height in (image.size, size))
        raise DataError("data.image_size", None, f"{origin} is {got}, the first image {wanted}", "set it")
    return image.convert(mode).resize(size, Image.Resampling.BILINEAR)


def _mode(config: DataConfig, image: Image.Image, origin: str) -> str:
    if image.mode in _GREY:
        return "L"
    if image.mode in _COLOUR:
        return "RGB"
    raise DataError(
        "data.root", config.root, f"{origin} has pixels of kind {image.mode}", "use 8 bits a channel"
    )
