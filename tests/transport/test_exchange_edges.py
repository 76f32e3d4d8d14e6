"""The reply parser at its edges: what each fault says, exact limits, interim replies in pieces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from servingclient._types import FaultKind, Origin, WireFault
from servingclient.transport.exchange import (
    Limits,
    ReplyParser,
    bad_header,
    is_header_value,
    is_token,
    request_head,
)

LIMITS = Limits(head_bytes=200, body_bytes=100)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
GOING_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def fault_of(pieces: Iterable[bytes], *, eof: bool = False) -> WireFault:
    parser = ReplyParser(LIMITS)
    try:
        for piece in pieces:
            parser.feed(piece)
        if eof:
            parser.eof()
    except WireFault as fault:
        return fault
    raise AssertionError("no fault")


# ------------------------------------------------------------------------------- what a fault says


@pytest.mark.parametrize(
    ("data", "kind", "detail"),
    [
        (b"HTTP/1.1 099 Low\r\n\r\n", FaultKind.UNREADABLE, "status 99"),
        (b"HTTP/1.1 600 High\r\n\r\n", FaultKind.UNREADABLE, "status 600 in HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", FaultKind.UNREADABLE, "status 200 in HTTP/2.0"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            FaultKind.UNREADABLE,
            "transfer coding 'gzip, chunked'",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 9\r\n\r\n",
            FaultKind.UNREADABLE,
            "content encoding 'br', which nobody asked for",
        ),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300 + b"\r\n\r\n",
            FaultKind.CUT_OFF,
            "the head of the reply exceeds 200 bytes",
        ),
    ],
)
def test_a_fault_says_what_was_wrong(data: bytes, kind: FaultKind, detail: str):
    fault = fault_of([data])
    assert (fault.kind, fault.detail, fault.sent) == (kind, detail, "maybe")


def test_an_upgrade_nobody_asked_for_is_unreadable():
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    fault = fault_of([data])
    assert (fault.kind, fault.sent) == (FaultKind.UNREADABLE, "maybe")
    assert fault.detail == "an upgrade (101) that was not asked for"


def test_what_breaks_http_is_told_with_the_parser_s_words():
    fault = fault_of([b"SSH-2.0-OpenSSH\r\n"])
    assert (fault.kind, fault.sent) == (FaultKind.UNREADABLE, "maybe")
    assert fault.detail.startswith("the reply breaks HTTP: ")
    fault = fault_of([b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n"])
    assert (fault.kind, fault.sent) == (FaultKind.CUT_OFF, "maybe")


def test_a_body_too_large_says_the_limit():
    fault = fault_of([b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101])
    assert (fault.kind, fault.sent) == (FaultKind.TOO_LARGE, "yes")
    assert "100" in fault.detail


def test_framing_without_body_says_what_came():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    fault = fault_of([head, b"1;" + b"e" * 500])
    assert (fault.kind, fault.sent) == (FaultKind.TOO_LARGE, "yes")
    assert fault.detail == f"{len(head) + 502} bytes of reply hold only 0 of its body"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.0 200 OK\r\n", OK[:-1], HINTS])
def test_early_eof_is_cut_off(sent: bytes):
    fault = fault_of([sent] if sent else [], eof=True)
    assert (fault.kind, fault.sent) == (FaultKind.CUT_OFF, "maybe")
    assert fault.detail == f"the server closed the connection after {len(sent)} bytes of the reply"


# ------------------------------------------------------------------------------- exact limits


def head_of(size: int) -> bytes:
    """A reply without body whose head has so many bytes, the empty line not counted."""
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "
    return start + b"x" * (size - len(start))


def test_a_head_of_the_limit_is_read_and_a_longer_one_is_not():
    assert ReplyParser(LIMITS).feed(head_of(200) + b"\r\n\r\n")
    assert fault_of([head_of(201) + b"\r\n\r\n"]).kind is FaultKind.CUT_OFF


def test_an_unfinished_head_may_have_the_limit_and_no_more():
    parser = ReplyParser(LIMITS)
    assert parser.feed(head_of(200)) is False
    with pytest.raises(WireFault, match="exceeds 200 bytes"):
        parser.feed(b"x")


def test_a_body_of_the_limit_is_read():
    parser = ReplyParser(LIMITS)
    assert parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert parser.body() == b"x" * 100


def test_all_the_bytes_a_reply_may_take():
    assert LIMITS.wire_bytes == 400
    parser = ReplyParser(LIMITS)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    parser.feed(head + b"1;" + b"e" * (400 - len(head) - 2))
    with pytest.raises(WireFault, match="401 bytes of reply"):
        parser.feed(b"e")


# ------------------------------------------------------------------------------- interim replies


@pytest.mark.parametrize("before", [HINTS, GOING_ON, HINTS + GOING_ON, GOING_ON * 3])
@pytest.mark.parametrize("blank", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_interim_replies_and_blank_lines_come_before_the_reply(
    before: bytes, blank: bytes, size: int
):
    data = blank + before + OK
    parser = ReplyParser(LIMITS)
    ends = [parser.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (parser.status, parser.body()) == (200, b"hi")
    assert list(parser.headers) == [(b"Content-Length", b"2")]
    assert parser.reusable


def test_blank_lines_before_a_reply_are_skipped_without_interim_ones_too():
    parser = ReplyParser(LIMITS)
    assert parser.feed(b"\r\n\r\n" + OK)
    assert list(parser.headers) == [(b"Content-Length", b"2")]


@pytest.mark.parametrize("before", [b"", b"\r\n", HINTS])
def test_a_break_behind_a_good_first_line_may_have_run(before: bytes):
    # in the head of the final reply: it was HTTP already
    fault = fault_of([before + b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"])
    assert fault.kind is FaultKind.CUT_OFF


def test_a_break_behind_an_interim_reply_may_have_run_too():
    assert fault_of([HINTS + b"SSH-2.0\r\n"]).kind is FaultKind.CUT_OFF


# ------------------------------------------------------------------------------- one by one


def test_before_a_reply_nothing_is_known_of_it():
    parser = ReplyParser(LIMITS)
    parser.feed(OK)
    parser.begin()
    assert (parser.status, list(parser.headers), parser.received_bytes) == (0, [], 0)
    flags = (parser.head_done, parser.done, parser.reusable, parser.extra_bytes)
    assert flags == (False, False, False, False)


def test_the_end_of_the_connection_behind_a_whole_reply_is_its_end():
    parser = ReplyParser(LIMITS)
    parser.feed(OK)
    assert parser.eof() is True


def test_a_reply_without_framing_ends_with_its_connection():
    parser = ReplyParser(LIMITS)
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nabc") is False
    assert parser.eof() is True
    assert (parser.body(), parser.reusable) == (b"abc", False)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\n\r\n", b"garbage", b"\x00"])
@pytest.mark.parametrize("apart", [False, True])
def test_T8_bytes_behind_the_end_are_told_and_the_reply_stands(extra: bytes, apart: bool):
    parser = ReplyParser(LIMITS)
    for piece in [OK, extra] if apart else [OK + extra]:
        assert parser.feed(piece) is True
    assert (parser.body(), parser.status) == (b"hi", 200)
    assert (parser.extra_bytes, parser.reusable) == (True, False)


# ------------------------------------------------------------------------------- what is sent

HERE = Origin("https", "h.example", 443)


def test_only_text_may_be_a_name_or_value():
    assert (is_token("X-A"), is_token(b"X-A"), is_token(None), is_token("a b")) == (
        True,
        False,
        False,
        False,
    )
    assert (is_header_value("v w"), is_header_value(7), is_header_value("a\nb")) == (
        True,
        False,
        False,
    )


def test_a_bad_header_is_told_by_its_name_and_never_by_its_value():
    told = bad_header("X Y", "canary")
    assert told == "header name 'X Y' is no token of letters, digits and dashes"
    told = bad_header("X", "canary\r\nY: 1")
    assert told == (
        "the value of header 'X' has a line break, a control character, an edge blank or a "
        "character beyond latin-1"
    )
    assert bad_header("X", "v") is None
    assert repr("x" * 40) in str(bad_header("x" * 100 + " ", "v"))
    assert repr("x" * 41) not in str(bad_header("x" * 100 + " ", "v"))


@pytest.mark.parametrize(
    ("method", "path"), [("P ST", "/a"), ("POST", "a"), ("P ST", "a"), ("POST", "/a b")]
)
def test_what_is_no_request_line_is_refused(method: str, path: str):
    with pytest.raises(ValueError, match="is no request line"):
        request_head(method, HERE, path, ())


def test_a_refusal_quotes_no_more_than_the_start():
    with pytest.raises(ValueError, match=f"^'{'M' * 20}' '/{'p' * 79}' is no request line$"):
        request_head("M" * 50, HERE, "/" + "p" * 200 + " ", ())


def test_a_bad_header_is_refused_with_its_reason():
    with pytest.raises(ValueError, match="the value of header 'X' has a line break"):
        request_head("POST", HERE, "/", [("X", "a\r\nb")])


def test_a_head_is_what_it_says():
    head = request_head("POST", Origin("http", "::1", 8080), "/a?b", [("X", "\u00fc")])
    assert head == b"POST /a?b HTTP/1.1\r\nHost: [::1]:8080\r\nX: \xfc\r\n"
