"""Packs and parses the frame of a message: headers, checksum and section lengths. Module `wire` has the format."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import WireError

Bytes = NDArray[np.uint8]
Buffer = bytes | memoryview | Bytes
ItemKind = Literal["dense", "masked", "bits", "scalar"]
MaskCoding = Literal["none", "implicit", "full", "bitmap", "indices", "gaps", "false_gaps", "changes"]
ValueDtype = Literal["float32", "float16", "bfloat16", "int8"]
WireVersion = Literal[1, 2]

MESSAGE_HEADER_BYTES = 12
#: bytes of the scale before int8 values
SCALE_BYTES = 4

_MAGIC = b"SFL"
_PREFIX = struct.Struct("<3sBI")
_CONTENTS = struct.Struct("<HBB")
_ITEM = struct.Struct("<BBHIII")
_LARGEST_U16 = 2**16 - 1
_LARGEST_U32 = 2**32 - 1

_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)
_CODINGS: tuple[MaskCoding, ...] = get_args(MaskCoding)
_VALUE_DTYPES: tuple[ValueDtype, ...] = get_args(ValueDtype)
_VERSIONS: tuple[WireVersion, ...] = get_args(WireVersion)
_CODINGS_OF: dict[ItemKind, tuple[MaskCoding, ...]] = {
    "dense": ("none",),
    "masked": ("implicit", "full", "bitmap", "indices", "gaps", "false_gaps", "changes"),
    "bits": ("bitmap", "gaps", "false_gaps"),
    "scalar": ("none",),
}
#: codings whose section has a length of its own, by format version
_SIZED_CODINGS: dict[WireVersion, tuple[MaskCoding, ...]] = {
    1: ("indices",),
    2: ("gaps", "false_gaps", "changes"),
}
_ALL_SIZED_CODINGS = (*_SIZED_CODINGS[1], *_SIZED_CODINGS[2])
_VALUE_BYTES: dict[ValueDtype, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
_SCALAR_BYTES = 8


@dataclass(frozen=True, slots=True)
class ItemHeader:
    """The header of one item; `extra` is a mask's CRC-32 (implicit) or the bytes of its section (gaps, changes)."""

    name: str
    kind: ItemKind
    coding: MaskCoding
    num_values: int
    width: int = 0
    extra: int = 0

    @property
    def mask_bytes(self) -> int:
        """Bytes of the mask section."""
        if self.coding in _ALL_SIZED_CODINGS:
            return self.extra
        return bitmap_bytes(self.width) if self.coding == "bitmap" else 0

    def value_bytes(self, value_dtype: ValueDtype) -> int:
        """Return the bytes of the value section."""
        if self.kind == "scalar":
            return _SCALAR_BYTES
        scale_bytes = SCALE_BYTES if value_dtype == "int8" and self.num_values else 0
        return scale_bytes + self.num_values * _VALUE_BYTES[value_dtype]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A parsed message: the checked headers, and `body`, the read-only bytes after the headers."""

    version: WireVersion
    value_dtype: ValueDtype
    headers: tuple[ItemHeader, ...]
    body: Bytes

    def sections(self) -> Iterator[tuple[ItemHeader, Bytes, Bytes]]:
        """Yield each item's header, value section and mask section."""
        value_start, mask_start = 0, sum(h.value_bytes(self.value_dtype) for h in self.headers)
        for header in self.headers:
            value_end = value_start + header.value_bytes(self.value_dtype)
            mask_end = mask_start + header.mask_bytes
            yield header, self.body[value_start:value_end], self.body[mask_start:mask_end]
            value_start, mask_start = value_end, mask_end


def bitmap_bytes(width: int) -> int:
    """Return the bytes of a bitmap of `width` entries."""
    return (width + 7) // 8


def item_header_bytes(name: str) -> int:
    """Return the bytes of the header of an item with this name. Raises WireError for a name that cannot be encoded."""
    return _ITEM.size + len(_padded(_encode_name(name)))


def pack_frame(
    headers: Sequence[ItemHeader],
    value_dtype: ValueDtype,
    sections: Sequence[Bytes],
    version: WireVersion = 2,
) -> bytes:
    """Join headers and sections (all values, then all masks) into a message. Raises WireError."""
    if len({h.name for h in headers}) < len(headers):
        raise WireError("two items of the payload have the same name")
    if len(headers) > _LARGEST_U16:
        raise WireError(f"a payload of {len(headers)} items; at most {_LARGEST_U16} can be sent")
    if value_dtype == "int8" and version == 1:
        raise WireError("format version 1 has no int8 values; set wire.version=2")
    contents = _CONTENTS.pack(len(headers), _VALUE_DTYPES.index(value_dtype), 0)
    parts: list[bytes | memoryview] = [contents, *map(_pack_item, headers)]
    parts += (section.data for section in sections)
    checksum = _first_checksum(version)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((_PREFIX.pack(_MAGIC, version, checksum), *parts))


def parse_frame(
    buffer: Buffer,
    *,
    max_elements: int | None = None,
    verify_checksum: bool = True,
    required_dtype: ValueDtype | None = None,
    required_version: WireVersion | None = None,
) -> Frame:
    """Read and check all headers. The function allocates no more memory than the headers need.

    Raises WireError for headers that are not valid, have more than `max_elements` elements (None: no limit) or do not
    add up to the length of the buffer, for a wrong checksum, and for another dtype or version than the required one
    (None: any).
    """
    data = _as_array(buffer)
    if not data.size:
        return Frame(required_version or 2, required_dtype or "float32", (), data)
    version, num_items, value_dtype = _parse_message_header(data.data, verify_checksum)
    if required_version not in (None, version):
        raise WireError(f"the message has format version {version}, expected {required_version}")
    if required_dtype not in (None, value_dtype):
        raise WireError(f"the values of the message are {value_dtype}, expected {required_dtype}")
    headers: list[ItemHeader] = []
    names: set[str] = set()
    position = MESSAGE_HEADER_BYTES
    num_elements = 0
    for _ in range(num_items):
        header, position = _parse_item(data.data, position, version)
        if header.name in names:
            raise WireError(f"two items have the name {header.name!r}")
        names.add(header.name)
        headers.append(header)
        num_elements += header.num_values + header.width
    if max_elements is not None and num_elements > max_elements:
        raise WireError(f"the message has {num_elements} elements; at most {max_elements} are accepted")
    expected = position + sum(h.value_bytes(value_dtype) + h.mask_bytes for h in headers)
    if expected != data.size:
        raise WireError(f"the buffer has {data.size} bytes, but its headers say {expected}")
    return Frame(version, value_dtype, tuple(headers), data[position:])


def _as_array(buffer: Buffer) -> Bytes:
    if isinstance(buffer, np.ndarray) and (buffer.dtype != np.uint8 or not buffer.flags.c_contiguous):
        raise WireError(f"the buffer must be contiguous bytes, not a {buffer.dtype} array")
    try:
        data = np.frombuffer(buffer, np.uint8)
    except (ValueError, TypeError) as error:
        raise WireError("the buffer must be contiguous bytes") from error
    data.flags.writeable = False
    return data


def _parse_message_header(data: memoryview, verify_checksum: bool) -> tuple[WireVersion, int, ValueDtype]:
    if data.nbytes < MESSAGE_HEADER_BYTES:
        raise WireError(f"the buffer has {data.nbytes} bytes, which are too few for a message")
    magic, version, checksum = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise WireError("the buffer is not a Sparsefleet message")
    if version not in _VERSIONS:
        raise WireError(f"the message has format version {version}; this release reads versions 1 and 2")
    if verify_checksum and zlib.crc32(data[_PREFIX.size :], _first_checksum(version)) != checksum:
        raise WireError("the checksum of the message is wrong: the message is truncated or damaged")
    num_items, dtype, reserved = _CONTENTS.unpack_from(data, _PREFIX.size)
    if dtype >= len(_VALUE_DTYPES) or reserved or (version == 1 and _VALUE_DTYPES[dtype] == "int8"):
        raise WireError(f"the message header is not valid (dtype {dtype}, reserved {reserved})")
    if not num_items:
        raise WireError("the message has no items; a payload without items has 0 bytes")
    return version, num_items, _VALUE_DTYPES[dtype]


def _first_checksum(version: WireVersion) -> int:
    """Return the checksum of the bytes before the checksum; version 1 does not cover these bytes."""
    return 0 if version == 1 else zlib.crc32(_MAGIC + bytes([version]))


def _pack_item(header: ItemHeader) -> bytes:
    name = _encode_name(header.name)
    if max(header.num_values, header.width) > _LARGEST_U32:
        raise WireError(f"item {header.name!r} has more than {_LARGEST_U32} entries")
    kind, coding = _KINDS.index(header.kind), _CODINGS.index(header.coding)
    return _ITEM.pack(kind, coding, len(name), header.num_values, header.width, header.extra) + _padded(name)


def _parse_item(data: memoryview, position: int, version: WireVersion) -> tuple[ItemHeader, int]:
    """Return the item header at `position`, and the position after the header. Raises WireError."""
    name_start = position + _ITEM.size
    if name_start > data.nbytes:
        raise WireError("the buffer ends within an item header")
    kind, coding, name_bytes, num_values, width, extra = _ITEM.unpack_from(data, position)
    end = name_start + name_bytes + -name_bytes % 4
    if end > data.nbytes:
        raise WireError("the buffer ends within an item name")
    encoded = data[name_start:end].tobytes()
    try:
        name = encoded[:name_bytes].decode()
    except UnicodeDecodeError as error:
        raise WireError("an item name is not UTF-8") from error
    if kind >= len(_KINDS) or coding >= len(_CODINGS) or any(encoded[name_bytes:]):
        raise WireError(f"the header of item {name!r} is not valid (kind {kind}, mask coding {coding})")
    header = ItemHeader(name, _KINDS[kind], _CODINGS[coding], num_values, width, extra)
    _check_fields(header, version)
    return header, end


def _check_fields(header: ItemHeader, version: WireVersion) -> None:
    """Raise WireError for a combination of fields that `encode` does not write."""
    kind, coding = header.kind, header.coding
    valid = (
        coding in _CODINGS_OF[kind]
        and (coding not in _ALL_SIZED_CODINGS or coding in _SIZED_CODINGS[version])
        and (kind in ("masked", "bits") or header.width == 0)
        and (coding == "implicit" or coding in _ALL_SIZED_CODINGS or header.extra == 0)
        and (kind != "bits" or header.num_values == 0)
        and (kind != "scalar" or header.num_values == 1)
        and (coding != "full" or header.width <= header.num_values)
        and (coding not in _ALL_SIZED_CODINGS or header.extra < bitmap_bytes(header.width))
    )
    if not valid:
        raise WireError(f"the header of item {header.name!r} has contradictory fields")


def _encode_name(name: str) -> bytes:
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"item name {name!r} cannot be written in UTF-8") from error
    if len(encoded) > _LARGEST_U16:
        raise WireError(f"an item name of {len(encoded)} bytes; at most {_LARGEST_U16} can be sent")
    return encoded


def _padded(name: bytes) -> bytes:
    return name + bytes(-len(name) % 4)
