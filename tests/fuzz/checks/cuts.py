"""The same bytes in pieces: where they are cut follows from the bytes, so a finding stays one."""

from __future__ import annotations

import random
import zlib


def pieces(data: bytes, most: int = 8) -> list[bytes]:
    """``data`` cut at up to ``most`` places."""
    chance = random.Random(zlib.crc32(data))
    ends = sorted({chance.randint(0, len(data)) for _ in range(chance.randint(1, most))})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True) if b > a]


def single_bytes(data: bytes) -> list[bytes]:
    """``data`` byte by byte."""
    return [data[n : n + 1] for n in range(len(data))]
