"""Where messages begin and end, however the bytes are cut."""

from __future__ import annotations

import pytest

from tests.faults.messages import Messages, Part

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


def test_heads_bodies_and_ends() -> None:
    messages = Messages()
    assert messages.feed(HEAD + b"hello" + HEAD + b"he") == [
        Part("head", HEAD, ends=False, body=5),
        Part("body", b"hello", ends=True),
        Part("head", HEAD, ends=False, body=5),
        Part("body", b"he", ends=False),
    ]
    assert not messages.between
    assert messages.feed(b"llo") == [Part("body", b"llo", ends=True)]
    assert messages.between


@pytest.mark.parametrize("size", [1, 3, 64])
def test_cuts_make_no_difference(size: int) -> None:
    data = HINT + HEAD + b"hello" + EMPTY + GET + HEAD + b"world"
    messages = Messages()
    parts = [
        part for at in range(0, len(data), size) for part in messages.feed(data[at : at + size])
    ]
    assert b"".join(part.data for part in parts) == data
    assert [part.data for part in parts if part.kind == "head"] == [HINT, HEAD, EMPTY, GET, HEAD]
    assert sum(part.ends for part in parts) == 4, "an interim reply ends nothing"


def test_what_has_no_length_passes_as_one_body() -> None:
    messages = Messages()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert messages.feed(head + b"5\r\nhello\r\n0\r\n\r\n") == [
        Part("head", head, ends=False, body=None),
        Part("body", b"5\r\nhello\r\n0\r\n\r\n", ends=False),
    ]
