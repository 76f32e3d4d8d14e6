"""Checkpoint files (``bulk/spool.py``): as they are, and as the content of frames that fit."""

from __future__ import annotations

import struct
import zlib

import msgpack

from servingclient.bulk.spool import Spool
from servingclient.errors import CheckpointError
from tests.fuzz.checks.files import written

JOB = {"endpoint": "m", "served_model": "", "params": "p", "encoding": "e"}
_MAGIC = b"servingclient.map 1\n"
_MOST_ROWS = 50


def framed(content: bytes) -> bytes:
    """One frame."""
    return struct.pack(">II", len(content), zlib.crc32(content)) + content


def check(data: bytes) -> None:
    _use(data)
    # a mutated frame never gets past its checksum, so what it holds is tried apart
    _use(_MAGIC + framed(data))
    _use(_MAGIC + framed(msgpack.packb(JOB)) + framed(data))


def _use(content: bytes) -> None:
    """What a job does with the file: opens it, takes what is there, adds a piece, opens it anew."""
    path = str(written(content))
    try:
        spool = Spool(path, JOB)
    except CheckpointError:
        return
    try:
        free = _take(spool)
        spool.append(free, 1, b"digest", [], [1.5])
    except CheckpointError:
        return
    finally:
        spool.close()
    again = Spool(path, JOB)
    try:
        record = again.at(free)
        assert record is not None
        assert again.predictions(record) == [1.5]
    finally:
        again.close()


def _take(spool: Spool) -> int:
    """Read the first pieces; returns a row at which there is none."""
    assert spool.rows >= 0
    for row in range(_MOST_ROWS):
        record = spool.at(row)
        if record is not None:
            values = spool.predictions(record)
            assert len(values) == record.rows - len(record.holes)
            assert all(0 <= hole < record.rows for hole in record.holes)
    return next(row for row in range(10**6, 10**7) if spool.at(row) is None)
