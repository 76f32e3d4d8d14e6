"""Inputs made of kept ones by chance, the same for the same seed.

Beside the usual damage there is *pumping*: a short slice repeated up to the longest input, and
nesting. Those two find what costs more than its length, and what runs out of stack.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

WORDS = (
    *b"null true -1 0 1e400 1e308 NaN Infinity 18446744073709551616 {} [] : , ; = inf nan".split(),
    *b"+5 1_000 event: HTTP/1.1 chunked gzip # EOF".split(),
    *(b'""', b'"', b'"\\ud800"', b"\\u0000", b"\\", b"\r\n", b"\n\n", b"\r", b" ", b"data: [DONE]"),
    *(b"Content-Length: 0\r\n\r\n", b"\xef\xbb\xbf", b"\xff", b"\0", b"\xc7\xff", b"\xc9"),
    *(b"\xdd\xff\xff", b"\xdf\xff\xff\xff\xff"),
)
"""What parsers stumble over."""

_NESTS = ((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b""), (b'"', b'"'))
_DEPTHS = (10, 200, 600, 1_000, 1_030, 3_000)
_LONGEST_DAMAGED = 4_096


def damaged(corpus: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` inputs with one to four changes each."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 4)):
            chance.choice(_CHANGES)(data, chance, corpus)
        yield bytes(data[:_LONGEST_DAMAGED])


def pumped(corpus: Sequence[bytes], count: int, longest: int, seed: int) -> Iterator[bytes]:
    """``count`` inputs with a slice repeated, or a value nested, up to ``longest`` bytes."""
    chance = random.Random(seed)
    for _ in range(count):
        data = chance.choice(corpus) or b"\0"
        if chance.random() < 0.25:
            yield _nested(data, chance)[:longest]
        else:
            yield _pumped(data, longest, chance)


def _pumped(data: bytes, longest: int, chance: random.Random) -> bytes:
    start, end = sorted(chance.sample(range(len(data) + 1), 2))
    end = min(end, start + chance.choice((1, 2, 4, 16, 64)))
    piece = data[start:end] + (chance.choice(WORDS) if chance.random() < 0.3 else b"")
    times = max(1, (longest - len(data)) // len(piece))
    tail = data[end:] if chance.random() < 0.7 else b""
    return (data[:start] + piece * times + tail)[:longest]


def _nested(data: bytes, chance: random.Random) -> bytes:
    """A value of the input, or all of it, inside many others."""
    opening, closing = chance.choice(_NESTS)
    depth = chance.choice(_DEPTHS)
    values = [n for n, byte in enumerate(data) if byte in b":[,"]
    at = chance.choice(values) + 1 if values else 0
    until = at + 1
    while until < len(data) and data[until] not in b",]}":
        until += 1
    middle = data[at:until] if chance.random() < 0.5 else b""
    return data[:at] + opening * depth + middle + closing * depth + data[until:]


# ------------------------------------------------------------------------------- kinds of damage


def _flip(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    del data[at : at + chance.choice((1, 2, 8, 64, 10_000))]


def _insert(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.choice(WORDS) if chance.random() < 0.7 else chance.randbytes(4)


def _repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = data[at : at + chance.choice((1, 4, 32))] * chance.randint(1, 20)


def _splice(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    other = chance.choice(corpus)
    data[chance.randint(0, len(data)) :] = other[chance.randint(0, len(other)) :]


def _value(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Another value behind a colon, as JSON and header lines have it."""
    colons = [n for n, byte in enumerate(data) if byte == 0x3A]
    if colons:
        at = chance.choice(colons) + 1
        until = at
        while until < len(data) and data[until] not in b",}\r\n":
            until += 1
        data[at:until] = chance.choice(WORDS)


_CHANGES: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip,
    _byte,
    _cut,
    _insert,
    _repeat,
    _splice,
    _value,
)
