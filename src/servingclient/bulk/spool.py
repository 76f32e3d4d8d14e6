"""The checkpoint file of a bulk job: what was scored, so that it is not sent again.

::

    magic
    frame   {"endpoint": ..., "served_model": ..., "params": ..., "encoding": ...}   which job
    frame   [first row, rows, digest, holes] [predictions]                           one per piece
    ...

A frame is its length, the CRC-32 of its content, and the content as msgpack. It is written by one
call when a piece is done, so a killed process leaves at most one torn frame, at the end; that one
is cut off. The digest is of the rows as they were encoded: another input is found out. Holes are
offsets of rows that failed and are tried again; what replaces them is another frame for the same
rows, and of two the later one counts.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import struct
import sys
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgpack

from servingclient.errors import CheckpointError

_log = logging.getLogger("servingclient.bulk")

_VERSION: Final = 1
_MAGIC: Final = b"servingclient.map %d\n" % _VERSION
_FRAME: Final = struct.Struct(">II")
_OWN: Final = 0o600  # predictions are nobody else's business


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


class Spool:
    """An open checkpoint file. Threads may append to it while another reads.

    Args:
        path: The file; made when there is none.
        job: What identifies the job, as short texts.

    Raises:
        CheckpointError: It is no checkpoint of this job, damaged, in use, or not to be opened.
    """

    def __init__(self, path: str, job: Mapping[str, str]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._records: dict[int, Record] = {}
        self._file = self._opened()
        try:
            self._take_lock()
            self._end = self._read_all(dict(job))
        except BaseException:
            self._file.close()
            raise
        self._starts = sorted(self._records)

    # ------------------------------------------------------------------------------- opening

    def _opened(self) -> io.FileIO:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            file = io.FileIO(os.open(self._path, flags, _OWN), "r+")
        except OSError as error:
            raise self._unusable(f"cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise self._unusable("is no regular file. Choose another path")
        return file

    def _take_lock(self) -> None:
        try:
            _lock_file(self._file.fileno())
        except (BlockingIOError, PermissionError):
            raise self._unusable(
                "is in use by another map, here or in another process. Wait for it, or give "
                "each job a file of its own"
            ) from None
        except OSError as error:
            raise self._unusable(
                f"cannot be locked: {error.strerror}. Choose a file on a local disk"
            ) from error

    def _read_all(self, job: dict[str, str]) -> int:
        """Learn what the file holds; returns where the next frame goes."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        magic = self._file.read(len(_MAGIC))
        if not _MAGIC.startswith(magic):
            raise self._not_ours()
        end = len(_MAGIC)
        frames = _frames(self._file, end, size)
        header = next(frames, None)
        if header is None:  # new, or killed before its first frame was whole
            return self._begin(job, size)
        self._check_job(self._unpacked(header[1]), job)
        end = header[0] + len(header[1])
        for start, content in frames:
            self._learn(start, content)
            end = start + len(content)
        if end < size:
            self._cut_off(end, size)
        return end

    def _begin(self, job: dict[str, str], size: int) -> int:
        self._check_torn(len(_MAGIC), size)
        self._keep_to_owner()
        self._file.seek(0)
        self._file.truncate()
        self._end = 0
        self._write(_MAGIC + _framed(msgpack.packb(job)))
        return self._end

    def _keep_to_owner(self) -> None:
        """A file that was there before, empty, may have been made for all to read."""
        if not hasattr(os, "fchmod"):  # Windows, before Python 3.13
            return
        try:
            os.fchmod(self._file.fileno(), _OWN)
        except OSError as error:  # somebody else's file, or a file system without such rights
            _log.warning("checkpoint_mode path=%s error=%s", self._path, error.strerror)

    def _check_job(self, known: Any, job: dict[str, str]) -> None:
        if type(known) is not dict:
            raise self._not_ours()
        differing = [name for name in job if known.get(name) != job[name]]
        if differing:
            what = " and ".join(f"another {_WORDS[name]}" for name in differing)
            raise self._unusable(
                f"belongs to a job with {what}. Give each job a file of its own, or delete this one"
            )

    def _learn(self, start: int, content: bytes) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=len(content))
        unpacker.feed(content)
        try:
            head = unpacker.unpack()
        except _NO_MSGPACK:
            raise self._not_ours() from None
        if not _is_head(head):
            raise self._not_ours()
        first_row, rows, digest, holes = head
        skipped = unpacker.tell()
        self._records[first_row] = Record(
            first_row, rows, digest, holes, start + skipped, len(content) - skipped
        )

    def _cut_off(self, end: int, size: int) -> None:
        self._check_torn(end, size)
        _log.info("checkpoint_cut path=%s torn_bytes=%d", self._path, size - end)
        self._file.truncate(end)

    def _check_torn(self, end: int, size: int) -> None:
        """What follows the last whole frame must be a torn one: it reaches the end of the file."""
        self._file.seek(end)
        head = self._file.read(_FRAME.size)
        reaches = len(head) < _FRAME.size or end + _FRAME.size + _FRAME.unpack(head)[0] >= size
        if not reaches and (head + self._file.readall()).strip(b"\0"):
            raise self._unusable(
                f"is damaged at byte {end:,}: more follows, which would be lost. Delete it to "
                "begin anew, or restore a copy"
            )

    # ------------------------------------------------------------------------------- using

    @property
    def rows(self) -> int:
        """Predictions of earlier runs."""
        return sum(record.rows - len(record.holes) for record in self._records.values())

    def at(self, row: int) -> Record | None:
        """The piece of an earlier run that begins with ``row``."""
        return self._records.get(row)

    def rows_before_next(self, row: int) -> int | None:
        """How many rows from ``row`` on are in no piece; None when no piece follows."""
        index = bisect_right(self._starts, row)
        return self._starts[index] - row if index < len(self._starts) else None

    def predictions(self, record: Record) -> list[Any]:
        """What was predicted for the rows of ``record`` that are no holes.

        Raises:
            CheckpointError: The file holds something else there.
        """
        with self._lock:
            self._file.seek(record.offset)
            content = _read(self._file, record.size_bytes)
        values: list[Any] = self._unpacked(content)
        if type(values) is not list or len(values) != record.rows - len(record.holes):
            raise self._not_ours()
        return values

    def append(
        self, first_row: int, rows: int, digest: bytes, holes: list[int], predictions: list[Any]
    ) -> None:
        """Record a piece.

        Raises:
            CheckpointError: The file cannot be written.
        """
        try:
            content = msgpack.packb(predictions)
        except ValueError:  # nested deeper than msgpack goes: it is scored again after a kill
            _log.warning("not_recorded rows=%d-%d reason=too_deep", first_row, first_row + rows - 1)
            return
        frame = _framed(msgpack.packb([first_row, rows, digest, holes]) + content)
        with self._lock:
            self._write(frame)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            self._file.seek(self._end)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise self._unusable(
                f"cannot be written: {error.strerror}. What was recorded before stands in it: make "
                "room, and the same call goes on from there"
            ) from error
        self._end += len(data)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def _unpacked(self, content: bytes) -> Any:
        try:
            return msgpack.unpackb(content)
        except _NO_MSGPACK:
            raise self._not_ours() from None

    def _not_ours(self) -> CheckpointError:
        return self._unusable(
            "was not written by this version of map. Give another path, or delete it"
        )

    def _unusable(self, why: str) -> CheckpointError:
        return CheckpointError(f"The checkpoint {self._path!r} {why}.")


_WORDS: Final = {
    "endpoint": "endpoint",
    "served_model": "served model",
    "params": "set of params",
    "encoding": "encoding (Settings.payload)",
}


def _framed(content: bytes) -> bytes:
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def _frames(file: io.FileIO, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The whole frames from ``start`` on: where the content of each stands, and the content."""
    while start + _FRAME.size <= size:
        file.seek(start)
        length, crc = _FRAME.unpack(_read(file, _FRAME.size))
        start += _FRAME.size
        if not 0 < length <= size - start:
            return
        content = _read(file, length)
        if zlib.crc32(content) != crc:
            return
        yield start, content
        start += length


def _read(file: io.FileIO, size: int) -> bytes:
    """All of ``size`` bytes: a raw file may give fewer at a time."""
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


_NO_MSGPACK: Final = (ValueError, TypeError, msgpack.UnpackException, RecursionError)


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
    )


if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 62  # locks are mandatory there: a byte that nobody reads

    def _lock_file(descriptor: int) -> None:
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
