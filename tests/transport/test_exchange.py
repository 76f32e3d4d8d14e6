"""The reply parser gives one outcome however the bytes are cut, and no other error than a fault."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient._types import FaultKind, WireFault
from servingclient.transport.exchange import Limits, ReplyParser
from tests.scripted import bodies
from tests.scripted.server import chunked, reply

LIMITS = Limits(head_bytes=2000, body_bytes=5000)

SEEDS = [
    reply(),
    reply(bodies.BODY, framing="chunked"),
    reply(bodies.BODY, framing="close"),
    reply(b"", status="204 No Content", framing="close"),
    bodies.gzipped(),
    bodies.members(b"one", b"two"),
    bodies.gzip_cut(100),
    bodies.gzip_bad_crc(),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", 2, b"X-T: 1\r\n"),
    reply() + reply(),
    reply(bytes(6000)),
    reply(b"{}", "X-Filler: " + "a" * 3000),
    *bodies.NOT_HTTP.values(),
    *bodies.UNASKED_CODINGS.values(),
    *bodies.BROKEN_FRAMING.values(),
]


def outcome(pieces: list[bytes]) -> tuple[Any, ...]:
    """What comes of a reply that arrives in ``pieces`` and then ends."""
    parser = ReplyParser(LIMITS)
    body = b""
    try:
        for piece in pieces:
            done = parser.feed(piece)
            body += parser.body()
            if done:
                break
        else:
            parser.eof()
            body += parser.body()
    except WireFault as fault:
        return (fault.kind,)
    return parser.status, body, [(name.lower(), value) for name, value in parser.headers]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({*(n % (len(data) + 1) for n in at), len(data)})
    starts = [0, *ends]
    return [data[a:b] for a, b in zip(starts, ends, strict=False) if b > a]


@given(st.sampled_from(SEEDS), st.lists(st.integers(0, 10_000), max_size=20))
def test_the_outcome_does_not_depend_on_the_cuts(data: bytes, at: list[int]):
    assert outcome(cut(data, at)) == outcome([data])


@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.lists(st.integers(0, 10_000), max_size=5))
def test_damaged_replies_are_faults_or_replies(data: bytes, seed: int, at: list[int]):
    chance = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        spot = chance.randrange(len(damaged))
        match chance.randrange(3):
            case 0:
                damaged[spot] = chance.randrange(256)
            case 1:
                del damaged[spot : spot + chance.randint(1, 20)]
            case 2:
                damaged[spot:spot] = chance.randbytes(chance.randint(1, 20))
        if not damaged:
            return
    found = outcome(cut(bytes(damaged), at))
    if isinstance(found[0], FaultKind):
        assert found[0] in (
            FaultKind.CUT_OFF,
            FaultKind.UNREADABLE,
            FaultKind.CORRUPT,
            FaultKind.TOO_LARGE,
        )
    else:
        assert 200 <= found[0] <= 599
        assert len(found[1]) <= LIMITS.body_bytes


@given(st.lists(st.sampled_from(SEEDS[:3]), min_size=1, max_size=3))
def test_a_parser_is_used_again_for_the_next_reply(replies: list[bytes]):
    parser = ReplyParser(LIMITS)
    for data in replies:
        if parser.received_bytes and not parser.reusable:
            return
        parser.begin()
        parser.feed(data)
        assert parser.status == 200
        assert (parser.body(), parser.extra_bytes) == (outcome([data])[1], False)


# ------------------------------------------------------------------------- more framing than body

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ROOM = LIMITS.wire_bytes - len(HEAD)


def fed(pieces: Iterable[bytes]) -> WireFault | None:
    """The fault of a reply whose body begins with ``pieces``, if it is one by then."""
    parser = ReplyParser(LIMITS)
    parser.feed(HEAD)
    try:
        for piece in pieces:
            parser.feed(piece)
    except WireFault as fault:
        return fault
    return None


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b"1\r\nx\r\n"),
        (b"1;", b"extension"),
        (b"", b"1;" + b"e" * 400 + b"\r\nx\r\n"),
        (b"0\r\n", b"X-Trailer: 1\r\n"),
    ],
    ids=["one-byte-chunks", "an-endless-extension", "extensions", "trailers"],
)
def test_a_reply_of_framing_ends(first: bytes, then: bytes):
    fault = fed(chain([first] if first else [], repeat(then)))
    assert fault is not None
    assert fault.kind is FaultKind.TOO_LARGE
    assert "bytes of reply hold only" in fault.detail


def test_a_reply_in_small_chunks_has_room():
    chunk = b"1\r\nx\r\n"
    count = ROOM // len(chunk) - 1
    parser = ReplyParser(LIMITS)
    assert parser.feed(HEAD + chunk * count + b"0\r\n\r\n")
    assert parser.body() == b"x" * count
    assert parser.reusable


def test_the_room_is_each_replys_own():
    parser = ReplyParser(LIMITS)
    for _ in range(10):
        parser.begin()
        assert parser.feed(HEAD + chunked(bytes(4000), 1000))
        assert parser.reusable


def test_a_full_body_in_ordinary_chunks_has_room():
    parser = ReplyParser(LIMITS)
    assert parser.feed(HEAD + chunked(bytes(LIMITS.body_bytes), 16))
    assert len(parser.body()) == LIMITS.body_bytes


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("callback", ["on_status", "on_headers_complete", "on_message_complete"])
def test_an_interrupt_inside_a_callback_is_no_fault_of_the_reply(
    monkeypatch: pytest.MonkeyPatch, callback: str, interrupt: type[BaseException]
):
    # httptools makes an error of its own of whatever a callback raises
    def interrupted(*_: object) -> None:
        raise interrupt

    monkeypatch.setattr(ReplyParser, callback, interrupted, raising=False)
    parser = ReplyParser(LIMITS)
    with pytest.raises(interrupt):
        parser.feed(reply())
