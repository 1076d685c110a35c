"""Reads the file of an offline run of Weights & Biases, which is a log of LevelDB with a header of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_HEADER_BYTES, _BLOCK_BYTES, _RECORD_HEADER_BYTES = 7, 32768, 7
#: a record that is whole, or the last part of one
_ENDS = (1, 4)


def records(file: Path) -> Iterator[Any]:
    """Return the records. Each part has a header: checksum (4 bytes), length (2, little-endian) and type (1)."""
    data, position, payload = file.read_bytes(), _HEADER_BYTES, b""
    while position + _RECORD_HEADER_BYTES <= len(data):
        if _BLOCK_BYTES - position % _BLOCK_BYTES < _RECORD_HEADER_BYTES:
            position += _BLOCK_BYTES - position % _BLOCK_BYTES  # the rest of a block is empty
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        position += _RECORD_HEADER_BYTES
        payload += data[position : position + length]
        position += length
        if kind in _ENDS:
            record = Record()
            record.ParseFromString(payload)
            payload = b""
            yield record
