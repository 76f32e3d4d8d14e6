"""Heads of requests: nothing that is put into one can end a line (T7, inputs 29 and 30)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient._types import Origin
from servingclient.auth.headers import (
    check_header,
    check_user_headers,
    make_target,
    request_head,
    standard_headers,
)
from servingclient.errors import ConfigError

HOST = Origin("https", "ws.example", 443)

BAD_VALUES = [
    "a\r\nX-Evil: 1",
    "a\r\nX-Evil: 1\r\n\r\nGET /admin HTTP/1.1",
    "a\nb",
    "a\rb",
    "a\x00b",
    "a\x7fb",
    "a\x1bb",
    "a\n",
    "\ra",
    " a",
    "a ",
    "a\t",
    "",
    "a\u2028b",
    "a\u0100",
    "a\u560a",  # becomes a line feed where a codec cuts it to one byte
]
BAD_NAMES = ["", "a b", "a:b", "a\r", "a\n", "ä", "a\x00", "(a)", 'a"', "a/b"]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_t7_bad_values_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError, match="X-Trace") as caught:
        check_header("X-Trace", value)
    assert "Evil" not in str(caught.value)
    with pytest.raises(ConfigError):
        request_head("POST", HOST, "/x", (("X-Trace", value),))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_t7_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_header(name, "a")


@pytest.mark.parametrize("value", ["a", "a b", "a\tb", "\xe9t\xe9", "Bearer x.y-z", '{"a": 1}'])
def test_good_values(value: str) -> None:
    assert check_header("X-Trace", value) == ("X-Trace", value)


@pytest.mark.parametrize("pair", [(1, "a"), ("a", 1), (None, None), (b"a", b"b")])
def test_what_is_no_text_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        check_header(*pair)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Authorization",
        "Accept-Encoding",
        "content-type",
        "Expect",
        "X-Databricks-Workspace-Id",
    ],
)
def test_what_the_client_sets_itself_is_not_the_users(name: str) -> None:
    with pytest.raises(ConfigError, match="set by the client"):
        check_user_headers([(name, "a")])


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        check_user_headers([("X-A", "1"), ("x-a", "2")])


def test_a_head_is_everything_before_the_content_length() -> None:
    headers = standard_headers("1.2", extra=(("Authorization", "Bearer t"),))
    target = make_target(HOST, "POST", "/serving-endpoints/m/invocations", headers)
    assert target.head == (
        b"POST /serving-endpoints/m/invocations HTTP/1.1\r\n"
        b"Host: ws.example\r\n"
        b"Accept: application/json\r\n"
        b"Accept-Encoding: gzip\r\n"
        b"User-Agent: servingclient/1.2\r\n"
        b"Content-Type: application/json\r\n"
        b"Authorization: Bearer t\r\n"
    )
    assert target.headers == headers
    assert "Bearer" not in repr(target)


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (Origin("https", "h.example", 8443), b"Host: h.example:8443\r\n"),
        (Origin("http", "127.0.0.1", 80), b"Host: 127.0.0.1\r\n"),
        (Origin("http", "::1", 8080), b"Host: [::1]:8080\r\n"),
    ],
)
def test_the_host_line(origin: Origin, line: bytes) -> None:
    assert line in request_head("GET", origin, "/", ())


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\n", "/ä", "/a#b", "/\x00", "/a\\b", "/<"])
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        request_head("GET", HOST, path, ())


@pytest.mark.parametrize("method", ["", "get", "GET ", "G\r\nX"])
def test_a_method_is_one_word_in_capitals(method: str) -> None:
    with pytest.raises(ConfigError):
        request_head(method, HOST, "/", ())


@pytest.mark.parametrize("name", ["host", "Content-Length", "transfer-encoding"])
def test_framing_is_the_connections_own(name: str) -> None:
    with pytest.raises(ConfigError, match="connection itself"):
        request_head("GET", HOST, "/", ((name, "1"),))


@given(st.text(), st.text())
def test_any_head_that_is_made_has_the_lines_it_was_given(name: str, value: str) -> None:
    try:
        head = request_head("POST", HOST, "/x", ((name, value),))
    except ConfigError:
        return
    lines = head.split(b"\r\n")
    assert lines == [
        b"POST /x HTTP/1.1",
        b"Host: ws.example",
        f"{name}: {value}".encode("latin-1"),
        b"",
    ]
    assert head.count(b"\n") == 3
    assert head.count(b"\r") == 3
