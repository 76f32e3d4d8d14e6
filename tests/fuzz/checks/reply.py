"""HTTP replies (``transport/exchange.py``): a fault or a reply, the same however it arrives."""

from __future__ import annotations

from typing import Any

from servingclient._types import FaultKind, WireFault
from servingclient.transport.exchange import Limits, ReplyParser
from tests.fuzz.checks.cuts import pieces, single_bytes

LIMITS = Limits(head_bytes=4_096, body_bytes=100_000)
_FAULTS = {FaultKind.CUT_OFF, FaultKind.UNREADABLE, FaultKind.CORRUPT, FaultKind.TOO_LARGE}
_FEW = 300  # bytes that are also fed one by one

Outcome = tuple[Any, ...]


def check(data: bytes) -> None:
    whole = _outcome([data])
    if len(whole) == 1:
        assert whole[0] in _FAULTS
    else:
        status, body, _ = whole
        assert 200 <= status <= 599
        assert len(body) <= LIMITS.body_bytes
    if len(data) > LIMITS.head_bytes and len(whole) == 1:
        return  # too much of something that is also wrong: which is seen first is up to the cuts
    assert _outcome(pieces(data)) == whole
    if len(data) <= _FEW:
        assert _outcome(single_bytes(data)) == whole


def _outcome(arriving: list[bytes]) -> Outcome:
    """What comes of a reply that arrives so and is followed by the connection's end."""
    parser = ReplyParser(LIMITS)
    body = b""
    try:
        for piece in arriving:
            done = parser.feed(piece)
            body += parser.body()
            if done:
                break
        else:
            parser.eof()
            body += parser.body()
    except WireFault as fault:
        return (fault.kind,)
    if parser.reusable:
        _next(parser)
    return parser.status, body, list(parser.headers)


_NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


def _next(parser: ReplyParser) -> None:
    """On a connection that may be used again, the next call gets its own reply and no other."""
    before = parser.status, parser.headers
    parser.begin()
    assert parser.feed(_NEXT)
    assert (parser.status, parser.body(), parser.extra_bytes) == (200, b"next", False)
    parser.status, parser.headers = before
