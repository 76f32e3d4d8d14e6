"""The checkpoint file of a bulk job: what was scored, so that it is not sent again.

It is a line that says what it is, and then frames (see ``frames``): one for the job, one for each
piece. A frame is written by one call when a piece is done, so a killed process leaves at most one
torn frame, at the end; that one is cut off.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import sys
import threading
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from servingclient.bulk.frames import (
    NO_MSGPACK,
    Record,
    framed,
    frames,
    is_torn,
    read,
    record_of,
)
from servingclient.errors import CheckpointError

_log = logging.getLogger("servingclient.bulk")

_VERSION: Final = 1
_MAGIC: Final = b"servingclient.map %d\n" % _VERSION
_OWN: Final = 0o600  # predictions are nobody else's business


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
        found = frames(self._file, end, size)
        header = next(found, None)
        if header is None:  # new, or killed before its first frame was whole
            return self._begin(job, size)
        self._check_job(self._unpacked(header[1]), job)
        end = header[0] + len(header[1])
        for start, content in found:
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
        self._write(_MAGIC + framed(msgpack.packb(job)))
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
        record = record_of(start, content)
        if record is None:
            raise self._not_ours()
        self._records[record.first_row] = record

    def _cut_off(self, end: int, size: int) -> None:
        self._check_torn(end, size)
        _log.info("checkpoint_cut path=%s torn_bytes=%d", self._path, size - end)
        self._file.truncate(end)

    def _check_torn(self, end: int, size: int) -> None:
        """What follows the last whole frame must be a torn one: it reaches the end of the file."""
        if not is_torn(self._file, end, size):
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
            content = read(self._file, record.size_bytes)
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
        frame = framed(msgpack.packb([first_row, rows, digest, holes]) + content)
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
        except NO_MSGPACK:
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
