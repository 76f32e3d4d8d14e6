"""gzip (``transport/inflate.py``): what the standard library makes of it, within a bound."""

from __future__ import annotations

import gzip

from servingclient._types import FaultKind, WireFault
from servingclient.transport.inflate import Inflater
from tests.fuzz.checks.cuts import pieces

LIMIT_BYTES = 256 * 1024
_LARGEST_STEP = 64 * 1024


def check(data: bytes) -> None:
    whole, parts = _outcome([data]), _outcome(pieces(data))
    if isinstance(whole, bytes):
        assert parts == whole
        assert len(whole) <= LIMIT_BYTES
        assert gzip.decompress(data) == whole
    else:  # where it is both, the cuts decide which is seen first
        assert {whole, parts} <= {FaultKind.CORRUPT, FaultKind.TOO_LARGE}
    # mutated gzip seldom gets past its checksum: the same bytes as content do, in two members
    middle = len(data) // 2
    packed = gzip.compress(data[:middle], 1) + gzip.compress(data[middle:], 1)
    assert _outcome(pieces(packed)) == data


def _outcome(arriving: list[bytes]) -> bytes | FaultKind:
    inflater = Inflater(LIMIT_BYTES)
    made = []
    try:
        for piece in arriving:
            for part in inflater.pieces(piece):
                assert len(part) <= _LARGEST_STEP
                made.append(part)
        inflater.finish()
    except WireFault as fault:
        return fault.kind
    return b"".join(made)
