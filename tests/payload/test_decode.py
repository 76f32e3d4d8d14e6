"""Replies with status 200: what the model said, or the one error that tells what it really is."""

from __future__ import annotations

import contextlib
import json
import math

import pytest

from servingclient.errors import ResponseFormatError, ServerError
from servingclient.payload.decode import predictions
from tests.stopwatch import Stopwatch

JSON = "application/json"


def read(body, content_type=JSON, *, wrapped=True):
    return predictions(body, content_type, wrapped=wrapped)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"predictions": [1, 2.5]}', [1, 2.5]),
        (b'{"predictions": [{"0": 3.5}]}', [{"0": 3.5}]),
        (b'{"predictions": {"a": [1]}}', {"a": [1]}),
        (b'{"predictions": 3}', 3),
        (b'{"predictions": null}', None),
        (b'{"predictions": []}', []),
        (b'{"predictions": "YWJj\\n"}', "YWJj\n"),
        (b'{"outputs": [{"a": 1}]}', [{"a": 1}]),
        (b'{"predictions": [1], "trace": {}}', [1]),
        (b'{"predictions": ["NaT", "NaN"]}', ["NaT", "NaN"]),
    ],
)
def test_the_values_lie_under_predictions_or_outputs(body, expected):
    assert read(body) == expected


def test_an_unwrapped_reply_is_the_value_itself():
    assert read(b'{"choices": [1]}', wrapped=False) == {"choices": [1]}
    assert read(b"[1, NaN]", wrapped=False)[0] == 1
    assert read(b"{}", wrapped=False) == {}


@pytest.mark.parametrize("content_type", [None, "text/plain", "text/html", "application/octet"])
def test_the_label_does_not_matter_when_the_body_is_right(content_type):
    assert read(b'{"predictions": [1]}', content_type) == [1]


# ------------------------------------------------------------------------------- bare constants


def test_46_bare_constants_are_read_as_mlflow_writes_them():
    found = read(b'{"predictions": [NaN, Infinity, -Infinity, 1.5, "NaN", "-Infinity"]}')
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1.5, "NaN", "-Infinity"]


@pytest.mark.parametrize(
    "text",
    [
        '"a\\"NaN"',
        '"\\\\"',
        '"\\u00e9 Infinity"',
        '"é"',
        "18446744073709551615",
        "-9223372036854775808",
    ],
)
def test_46_what_stands_beside_a_constant_reads_as_it_would_alone(text):
    alone = read(f'{{"predictions": [{text}]}}'.encode())
    beside = read(f'{{"predictions": [{text}, NaN]}}'.encode())
    assert beside[:1] == alone
    assert type(beside[0]) is type(alone[0])


def test_large_numbers_read_the_same_with_and_without_constants():
    body = b'{"predictions": [18446744073709551616, -9223372036854775809, %b]}'
    assert read(body % b"1") == [2.0**64, -(2.0**63), 1]  # orjson's reading, documented
    assert read(body % b"NaN")[:2] == [2.0**64, -(2.0**63)]


NOT_WIDENED = {
    "BOM": b'\xef\xbb\xbf{"predictions": [%b]}',
    "latin-1": b'{"predictions": ["\xe9", %b]}',
    "lone surrogate": b'{"predictions": ["\\ud800", %b]}',
    "1e400": b'{"predictions": [1e400, %b]}',
    "-1e400": b'{"predictions": [-1e400, %b]}',
    "400 digits": b'{"predictions": [1%b, %%b]}' % (b"0" * 400),
    "1,025 deep": b'{"predictions": ' + b"[" * 1025 + b"%b" + b"]" * 1025 + b"}",
    "control character": b'{"predictions": ["\x01", %b]}',
    "trailing comma": b'{"predictions": [%b,]}',
    "single quotes": b"{'predictions': [%b]}",
    "two documents": b'{"predictions": [%b]} {}',
    "cut off": b'{"predictions": [%b, 1',
    "unended text": b'{"predictions": [%b, "abc',
    "unended escape": b'{"predictions": [%b, "abc\\',
    "joined to a number": b'{"predictions": [1%b]}',
    "a bare word": b'{"predictions": [%bx]}',
    "+constant": b'{"predictions": [+%b]}',
}


@pytest.mark.parametrize("body", NOT_WIDENED.values(), ids=[f"46 {n}" for n in NOT_WIDENED])
@pytest.mark.parametrize("constant", [b"NaN", b"-Infinity"])
def test_nothing_else_is_let_through_beside_a_constant(body, constant):
    with Stopwatch() as watch, pytest.raises(ResponseFormatError, match="no valid JSON"):
        read(body % constant)
    assert watch.took_s < 1


def test_46_what_only_some_pythons_can_nest_is_read_or_refused():
    # orjson takes 1,024 levels; the standard library fewer before Python 3.12
    body = b'{"predictions": ' + b"[" * 1010 + b"NaN" + b"]" * 1010 + b"}"
    with contextlib.suppress(ResponseFormatError):
        assert isinstance(read(body), list)


@pytest.mark.parametrize("body", [b"-NaN", b"nan", b"inf", b"Infinity1", b"NaNNaN", b"- Infinity"])
def test_46_words_like_the_constants_are_refused(body):
    with pytest.raises(ResponseFormatError):
        read(b'{"predictions": [' + body + b"]}")


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\', b"\\", b'"NaN', b"-", b"NaN "])
def test_a_hostile_body_is_refused_in_linear_time(unit):
    with Stopwatch() as watch, pytest.raises(ResponseFormatError):
        read(b"NaN" + unit * (2_000_000 // len(unit)))
    assert watch.took_s < 5


# ------------------------------------------------------------------------------- what is no reply

SECRET = b"customer-4711"

REFUSED = {
    "39 login page": (
        b"<!DOCTYPE html><title>Sign in</title>",
        "text/html; charset=utf-8",
        "web page.*login page.*private link or a proxy",
    ),
    "39 login page, labelled JSON": (b"\n  <html>customer-4711", JSON, "web page"),
    "39 page without a tag": (b"please log in", "text/html", "web page"),
    "stream instead of a value": (
        b'data: {"x": "customer-4711"}\n\n',
        "text/event-stream",
        r"stream of events.*stream\(\.\.\.\)",
    ),
    "40 empty body": (b"", JSON, "no body"),
    "40 empty body without label": (b"", None, "no body"),
    "40 white space": (b"  \n", JSON, "no valid JSON"),
    "41 empty object": (b"{}", JSON, "neither predictions nor outputs. Its keys: none"),
    "41 other keys": (b'{"a": "customer-4711", "b": 1}', JSON, "Its keys: 'a', 'b'. "),
    "41 many keys": (json.dumps(dict.fromkeys(map(str, range(99)))).encode(), JSON, "and 89 more"),
    "41 a long key": (b'{"' + b"k" * 5000 + b'": 1}', JSON, "k" * 30),
    "41 a list": (b'["customer-4711"]', JSON, "JSON array"),
    "41 a text": (b'"customer-4711"', JSON, "JSON string"),
    "41 a number": (b"4711", JSON, "JSON number"),
    "41 null": (b"null", JSON, "JSON null"),
    "46 text": (b"customer-4711", JSON, "no valid JSON .application/json, 13 bytes."),
    "46 BOM": (b'\xef\xbb\xbf{"predictions": []}', JSON, "byte order mark"),
    "46 latin-1": (b'{"predictions": "\xe9"}', JSON, "UTF-8"),
    "46 1e400": (b'{"predictions": 1e400}', JSON, "infinity"),
    "46 1,025 deep": (b"[" * 1025 + b"]" * 1025, JSON, "depth"),
    "46 cut off": (b'{"predictions": [1, 2', JSON, "no valid JSON"),
    "46 binary": (bytes(range(256)), "application/x", "no valid JSON"),
    "a strange label": (b"x", "x\x1b[31m" + "y" * 1000, "no valid JSON"),
}


@pytest.mark.parametrize(
    ("body", "content_type", "words"), REFUSED.values(), ids=list(REFUSED.keys())
)
def test_a_reply_of_another_kind_is_named(body, content_type, words):
    with pytest.raises(ResponseFormatError, match=words) as caught:
        read(body, content_type)
    text = str(caught.value)
    assert len(text) < 600
    assert text.isprintable()
    assert "customer" not in text
    assert caught.value.__cause__ is None


def test_47_of_a_repeated_key_the_last_counts():
    assert read(b'{"predictions": [1], "predictions": [2]}') == [2]


@pytest.mark.parametrize("wrapped", [True, False])
def test_43_an_error_with_status_200_is_a_server_error(wrapped):
    body = b'{"error_code": "INTERNAL", "message": "no dapi0123456789abcdef for tok-1"}'
    with pytest.raises(ServerError, match="200 with an error") as caught:
        predictions(body, JSON, wrapped=wrapped, secrets=("tok-1",))
    assert "dapi0" not in str(caught.value)
    assert "tok-1" not in str(caught.value)


def test_43_the_code_may_be_a_number_and_the_message_missing():
    with pytest.raises(ServerError, match="403"):
        read(b'{"error_code": 403}')
