"""The frames of a checkpoint file: their bytes, and which rows each is of.

::

    frame   {"endpoint": ..., "served_model": ..., "params": ..., "encoding": ...}   which job
    frame   [first row, rows, digest, holes] [predictions]                           one per piece
    ...

A frame is its length, the CRC-32 of its content, and the content as msgpack. The digest is of the
rows as they were encoded: another input is found out. Holes are offsets of rows that failed and are
tried again; what replaces them is another frame for the same rows, and of two the later one counts.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack

_HEAD: Final = struct.Struct(">II")  # length and CRC-32
NO_MSGPACK: Final = (ValueError, TypeError, msgpack.UnpackException, RecursionError)
"""What msgpack raises at what is none."""


class Record(NamedTuple):
    """A piece that was scored in an earlier run.

    Attributes:
        first_row: Its first row.
        rows: How many it has.
        digest: Of its rows without the holes, as encoded.
        holes: Offsets of the rows that failed.
        offset: Where its predictions stand in the file.
        size_bytes: And how many bytes they take.
    """

    first_row: int
    rows: int
    digest: bytes
    holes: list[int]
    offset: int
    size_bytes: int


def framed(content: bytes) -> bytes:
    """A frame with this content."""
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


def frames(file: io.FileIO, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The whole frames from ``start`` on: where the content of each stands, and the content."""
    while start + _HEAD.size <= size:
        file.seek(start)
        length, crc = _HEAD.unpack(read(file, _HEAD.size))
        start += _HEAD.size
        if not 0 < length <= size - start:
            return
        content = read(file, length)
        if zlib.crc32(content) != crc:
            return
        yield start, content
        start += length


def is_torn(file: io.FileIO, start: int, size: int) -> bool:
    """Whether nothing more than one frame that was not written to its end stands from there on.

    Args:
        file: This.
        start: Where its last whole frame ends.
        size: Of the file: a torn frame reaches its end.
    """
    file.seek(start)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or start + _HEAD.size + _HEAD.unpack(head)[0] >= size:
        return True
    return not (head + file.readall()).strip(b"\0")


def read(file: io.FileIO, size: int) -> bytes:
    """All of ``size`` bytes: a raw file may give fewer at a time."""
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def record_of(start: int, content: bytes) -> Record | None:
    """What a frame says of its rows, if it is of any.

    Args:
        start: Where its content stands in the file.
        content: This.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(content))
    unpacker.feed(content)
    try:
        head = unpacker.unpack()
    except NO_MSGPACK:
        return None
    if not _is_head(head):
        return None
    first_row, rows, digest, holes = head
    skipped = unpacker.tell()
    return Record(first_row, rows, digest, holes, start + skipped, len(content) - skipped)


def _is_head(found: Any) -> bool:
    """Whether it says which rows a frame is of: first row, rows, digest, holes."""
    if type(found) is not list or len(found) != 4:
        return False
    first_row, rows, digest, holes = found
    return (
        type(first_row) is type(rows) is int
        and first_row >= 0
        and rows > 0
        and type(digest) is bytes
        and type(holes) is list
        and all(type(hole) is int and 0 <= hole < rows for hole in holes)
        and len(set(holes)) == len(holes)
    )
