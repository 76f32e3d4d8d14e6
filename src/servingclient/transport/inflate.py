"""Gunzip with bounds: small steps, every member, checked trailer. Pure.

``.decompress(data)`` without a length inflates a whole chunk at once: 64 KB of gzip can be 67 MB.
httpx 0.28 accepts truncated gzip as a good reply and drops all but the first member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from servingclient._types import FaultKind, WireFault

_STEP_BYTES = 64 * 1024
_GZIP = 31  # zlib's window bits 15 plus 16: gzip header and trailer, CRC and length checked


class Inflater:
    """Undoes ``Content-Encoding: gzip`` piece by piece.

    Args:
        limit_bytes: Most bytes to produce over the whole reply.
    """

    __slots__ = ("_limit", "_member", "_started", "produced_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._member = zlib.decompressobj(_GZIP)
        self._started = False
        self.produced_bytes: int = 0

    def feed(self, data: bytes) -> bytes:
        """Decode ``data``.

        Raises:
            WireFault: ``CORRUPT`` when it is no gzip, ``TOO_LARGE`` beyond the limit.
        """
        return b"".join(self.pieces(data))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """``feed`` step by step: joined, the pieces of a bomb would stand in memory twice."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._started = True
            yield self._step(data)
            data = self._member.unconsumed_tail or self._member.unused_data

    def _step(self, data: bytes) -> bytes:
        try:
            piece = self._member.decompress(data, _STEP_BYTES)
        except zlib.error as error:
            raise WireFault(FaultKind.CORRUPT, f"bad gzip: {error}", sent="yes") from None
        self.produced_bytes += len(piece)
        if self.produced_bytes > self._limit:
            raise too_large(self._limit)
        return piece

    def finish(self) -> None:
        """The body has ended.

        Raises:
            WireFault: ``CORRUPT``: the last member is not complete.
        """
        if self._started and not self._member.eof:
            raise WireFault(
                FaultKind.CORRUPT,
                f"gzip ends early, after {self.produced_bytes} decoded bytes",
                sent="yes",
            )


def too_large(limit_bytes: int) -> WireFault:
    """The fault of a reply beyond its size limit."""
    return WireFault(
        FaultKind.TOO_LARGE, f"the reply exceeds {limit_bytes} bytes when decoded", sent="yes"
    )
