"""Decodes images into uint8 arrays with Pillow. All images of a data set get the same mode and size."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Images
from orchestrator.data.loaders.locate import require_regular, require_size
from orchestrator.errors import DataError
from orchestrator.formatting import counted

_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "HSV"}

_MAX_CHANNELS = 4  # of an image with an alpha channel
_BLOCK = 512  # images that a thread reads at a time

Source = bytes | Path
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImages:
    """The encoded images of one part. `origins[i]` names image i in messages."""

    sources: Sequence[Source]
    origins: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Header:
    is_grey: bool
    is_transparent: bool
    has_frames: bool
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Form:
    """The mode (L or RGB) and size (width, height) of all decoded images; `first` names the first image."""

    mode: str
    size: tuple[int, int]
    first: str


def decode_parts(
    config: DataConfig, parts: Sequence[EncodedImages]
) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
    """Return uint8[N, C, H, W] for each part, and notes for the user about unusual images.

    C is 1 when every image of every part is grey, else 3. Transparent pixels are composited on white. All images must
    have the size of the first image, or they are resized to `data.image_size`.

    Raises DataError for an image that cannot be decoded, has more than 8 bits per channel, or has another size. The
    error names the image.
    """
    if not all(part.sources for part in parts):
        raise DataError("data.root", config.root, "there are no images", "add images")
    headers = [_in_blocks(part, lambda source, origin: _header(config, source, origin)) for part in parts]
    all_headers = [header for part in headers for header in part]
    size = all_headers[0].size if config.image_size is None else (config.image_size, config.image_size)
    mode = "L" if all(header.is_grey for header in all_headers) else "RGB"
    form = _Form(mode, size, parts[0].origins[0])
    require_size(config, len(all_headers) * len(mode) * size[0] * size[1], f"{len(all_headers)} images")
    return [_decode(config, part, form) for part in parts], _notes(parts, all_headers)


def resize(images: Images, size: int) -> Images:
    """Resize images [N, C, H, W] to [N, C, size, size] of the same dtype, bilinearly, channel by channel."""
    num_images, channels = images.shape[:2]
    out = np.empty((num_images, channels, size, size), dtype=images.dtype)
    for index in range(num_images):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(images[index, channel]))
            out[index, channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return out


def _decode(config: DataConfig, part: EncodedImages, form: _Form) -> NDArray[np.uint8]:
    channels, (width, height) = 1 if form.mode == "L" else 3, form.size
    out = np.empty((len(part.sources), channels, height, width), dtype=np.uint8)

    def decode(source: Source, origin: str) -> NDArray[np.uint8]:
        image = _convert(config, _open(config, source, origin), form, origin)
        return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)

    _in_blocks(part, decode, out.__setitem__)
    return out


def _in_blocks(
    part: EncodedImages,
    read: Callable[[Source, str], T],
    store: Callable[[int, T], None] | None = None,
) -> list[T]:
    """Call `read` for each image, in threads, and pass index and result to `store` (None: return the results)."""

    def block(start: int) -> list[T]:
        results = []
        for index in range(start, min(start + _BLOCK, len(part.sources))):
            result = read(part.sources[index], part.origins[index])
            if store is None:
                results.append(result)
            else:
                store(index, result)
        return results

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = pool.map(block, range(0, len(part.sources), _BLOCK))
        return [result for results in blocks for result in results]


def _header(config: DataConfig, source: Source, origin: str) -> _Header:
    """Read mode and size of an image, without decoding its pixels."""
    if isinstance(source, Path):
        require_regular(config, source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode not in _GREY | _COLOUR:
                problem = f"{origin} has pixels of mode {image.mode}"
                raise DataError("data.root", config.root, problem, "use images with 8 bits per channel")
            require_size(config, _MAX_CHANNELS * image.width * image.height, origin)
            return _Header(
                is_grey=image.mode in _GREY,
                is_transparent=image.has_transparency_data,
                has_frames=bool(getattr(image, "is_animated", False)),
                size=image.size,
            )
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(config, origin, error) from error


def _open(config: DataConfig, source: Source, origin: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(config, origin, error) from error
    return image


def _unreadable(config: DataConfig, origin: str, error: Exception) -> DataError:
    problem = f"{origin} is not a readable image ({error})"
    return DataError("data.root", config.root, problem, "replace or remove this image")


def _convert(config: DataConfig, image: Image.Image, form: _Form, origin: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(form.mode)
    if image.size == form.size:
        return image
    if config.image_size is None:
        size, first_size = (f"{width}x{height}" for width, height in (image.size, form.size))
        problem = f"{origin} is {size}, but the first image is {first_size} ({form.first})"
        raise DataError("data.image_size", None, problem, "set it to the side of all images in pixels")
    return image.resize(form.size, Image.Resampling.BILINEAR)


def _notes(parts: Sequence[EncodedImages], headers: Sequence[_Header]) -> tuple[str, ...]:
    origins = [origin for part in parts for origin in part.origins]
    framed = [origin for origin, header in zip(origins, headers, strict=True) if header.has_frames]
    num_grey = sum(header.is_grey for header in headers)
    num_transparent = sum(header.is_transparent for header in headers)
    notes = []
    if 0 < num_grey < len(headers):
        num_colour = len(headers) - num_grey
        notes.append(
            f"the data has {num_grey} grey and {counted(num_colour, 'colour image')}: all are read as RGB"
        )
    if num_transparent:
        images = counted(num_transparent, "image")
        notes.append(f"{images} with an alpha channel or a transparent colour: composited on white")
    if framed:
        notes.append(
            f"{counted(len(framed), 'image')} with several frames: only the first frame is read "
            f"(first image: {framed[0]})"
        )
    return tuple(notes)
