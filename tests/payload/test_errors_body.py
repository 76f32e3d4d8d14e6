"""Bodies of error replies: code and message, short, without secrets and without payload."""

from __future__ import annotations

import json
import time

import msgpack
import pytest

from servingclient._types import ErrorDetail
from servingclient.payload.errors_body import error_detail, redacted

JSON = "application/json"


def made(**fields):
    return json.dumps(fields).encode()


NO_ENDPOINT = (
    "The given endpoint does not exist, please retry after checking the specified model and "
    "version deployment exists."
)
UNEXPECTED = (
    "Encountered an unexpected error while evaluating the model. Verify that the input is "
    "compatible with the model for inference."
)

SHAPES = {
    "1 API 2": (
        made(error_code="ENDPOINT_NOT_FOUND", message=NO_ENDPOINT),
        ("ENDPOINT_NOT_FOUND", NO_ENDPOINT, None),
    ),
    "1 details": (made(error_code="X_Y", message="m", details=[{"a": 1}]), ("X_Y", "m", None)),
    "2 integer code": (
        made(error_code=403, message="Invalid access token. [ReqId: 4f-1]"),
        ("403", "Invalid access token. [ReqId: 4f-1]", None),
    ),
    "3 API 1.2": (made(error="no such thing"), (None, "no such thing", None)),
    "3 OAuth": (
        made(error="invalid_scope", error_description="Not yours"),
        ("invalid_scope", "Not yours", None),
    ),
    "3 SCIM": (
        made(detail="No user", status="404", scimType="invalidValue"),
        ("invalidValue", "No user", None),
    ),
    "3 SCIM without type": (made(detail="No user", status="404"), ("404", "No user", None)),
    "3 FastAPI": (made(detail="Method Not Allowed"), (None, "Method Not Allowed", None)),
    "3 FastAPI validation": (
        made(detail=[{"loc": ["body", "x", 0], "msg": "Field required", "input": "customer-4711"}]),
        (None, "body.x.0: Field required", None),
    ),
    "3 code: message": (
        b"PERMISSION_DENIED: You may not",
        ("PERMISSION_DENIED", "You may not", None),
    ),
    "3 html pre": (
        b"<html><title>t</title><pre>\n Bad &amp; gone </pre>",
        (None, "Bad & gone", None),
    ),
    "3 html title": (
        b"<html><title>502 Bad Gateway</title><body>",
        (None, "502 Bad Gateway", None),
    ),
    "3 html bare": (b"<html><body><p>x</p>", (None, "a web page of 20 bytes", None)),
    "3 empty": (b"", (None, "", None)),
    "3 white space": (b" \r\n", (None, "", None)),
    "4 foundation model": (
        made(
            error={
                "message": "Too many tokens",
                "type": "rate_limit_exceeded",
                "code": 429,
                "limit_type": "input_tokens_per_minute",
                "retry_after": 15,
            }
        ),
        ("rate_limit_exceeded", "Too many tokens", 15.0),
    ),
    "4 code alone": (
        made(error={"message": "m", "code": 429, "retry_after": 0.5}),
        ("429", "m", 0.5),
    ),
    "5 MLflow": (
        made(
            error_code="BAD_REQUEST",
            message=UNEXPECTED,
            sqlstate="KAM00",
            error_class="X",
            stack_trace="Traceback customer-4711",
        ),
        ("BAD_REQUEST", UNEXPECTED, None),
    ),
    "5 text labelled JSON": (
        b"Request processing time exceeded limit",
        (None, "Request processing time exceeded limit", None),
    ),
    "5 text": (b"Internal Server Error", (None, "Internal Server Error", None)),
    "5 JSON text": (
        b'"Request size cannot exceed 16777216 bytes"',
        (None, "Request size cannot exceed 16777216 bytes", None),
    ),
    "cut off": (b'{"error_code": "X_Y", "message": "a \\"b\\" c", "deta', ("X_Y", 'a "b" c', None)),
    "a broken escape": (b'{"message": "a\\x b\\n c"', (None, "a\\x b", None)),
    "validation of another shape": (b'{"detail": ["x", {"msg": "m"}]}', (None, ": m", None)),
    "cut off in the message": (
        b'{"error_code": 403, "message": "Invalid acc',
        ("403", "Invalid acc", None),
    ),
    "BOM": (b'\xef\xbb\xbf{"error_code": "X_Y", "message": "m"}', ("X_Y", "m", None)),
    "list": (b'["customer-4711"]', (None, "", None)),
    "number": (b"17", (None, "17", None)),
    "null fields": (made(error_code=None, message=None), (None, "", None)),
    "odd fields": (made(error_code={"a": 1}, message=["customer-4711"]), (None, "", None)),
    "odd waits": (made(error={"message": "m", "retry_after": "soon"}), (None, "m", None)),
    "negative wait": (made(error={"message": "m", "retry_after": -1}), (None, "m", None)),
    "true wait": (made(error={"message": "m", "retry_after": True}), (None, "m", None)),
    "binary": (bytes(range(256)) * 10, (None, "2,560 bytes of binary data", None)),
    "gzip": (b"\x1f\x8b\x08" + bytes(range(128, 256)), (None, "131 bytes of binary data", None)),
    "two lines": (b"first line\nsecond customer-4711", (None, "first line", None)),
    "control characters": (made(message="a\x1b[31mb\x00c\td"), (None, "a [31mb c d", None)),
}


@pytest.mark.parametrize(("body", "expected"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("content_type", [JSON, None, "text/plain; charset=utf-8"])
def test_every_shape_gives_code_message_and_wait(body, expected, content_type):
    assert error_detail(body, content_type) == ErrorDetail(*expected)


# what the service and MLflow say, that must come through word for word
TEXTS = [
    "Use Bearer authentication for this endpoint",
    "Basic authentication is not allowed",
    "Cannot refresh token: invalid_client",
    NO_ENDPOINT,
    UNEXPECTED,
    "Request size cannot exceed 16777216 bytes",
    (
        "Exceeded max number of parallel requests. Please contact your Databricks representative "
        "to increase the limit"
    ),
    (
        "Too many concurrent requests. Consider increasing the provisioned concurrency of the "
        "served entity."
    ),
    (
        "User defined rate limit(s) exceeded for 'ep-1'. Requests-per-minute (RPM) rate limit "
        "exceeded for user"
    ),
    "Workspace 17 exceeded the concurrent limit of 60 requests",
    "Timed out while evaluating the model. Verify that the model evaluates within the timeout.",
    "Token is expiring within 30 seconds. (token expired)",
    "Invalid input. Dataframe split format must be a dictionary. Got list.",
    "Model is missing inputs ['b'].",
    "Incompatible input types for column a. Can not safely convert object to float64.",
    "Failed to convert column b to type 'int64'",
    "Parameters must be a dictionary. Got type 'list'.",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_services_own_words_stay(text):
    assert error_detail(made(error_code="X", message=text), JSON).message == text


FRAME = "   name  age\n0  customer-4711   3"
SCHEMA = "['age': long (required), 'name': string (required)]"

ECHOES = {
    "predict and schema": (
        (
            f"Failed to predict data '{FRAME}'. \nError: Failed to enforce schema of data "
            f"'{FRAME}' with schema '{SCHEMA}'. Error: Model is missing inputs ['b']."
        ),
        "Failed to predict (the input is not shown). Model is missing inputs ['b'].",
    ),
    "schema": (
        (
            f"Failed to enforce schema of data '{FRAME}' with schema '{SCHEMA}'. Error: Failed to "
            "convert column age to type 'int64'"
        ),
        (
            "Failed to enforce the schema (the input is not shown). Failed to convert column age "
            "to type 'int64'"
        ),
    ),
    "schema without reason": (
        "Failed to enforce schema of data `customer-4711` with dtype `double`",
        "Failed to enforce the schema (the input is not shown).",
    ),
    "schema of": (
        "Failed to enforce schema of '{'a': 'customer-4711'}' with type 'Object'. Expected data",
        "Failed to enforce the schema (the input is not shown).",
    ),
    "data frame in quotes that hold quotes": (
        "Failed to predict data '{'a': \"it's customer-4711\"}'. \nError: Bad.",
        "Failed to predict (the input is not shown). Bad.",
    ),
    "bad JSON": (
        (
            "Ensure that input is a valid JSON formatted string. Error: "
            "'JSONDecodeError(\"x\")'\nInput: \n"
            '{"name": "customer-4711"\n'
        ),
        "Ensure that input is a valid JSON formatted string. Error: [not shown]",
    ),
    "bad bytes": (
        (
            "Ensure that input is a valid JSON formatted string. Error: "
            "'UnicodeDecodeError('utf-8', b'customer-4711', 0, 1, 'x')'\nInput: "
            "\nb'customer-4711'\n"
        ),
        None,
    ),
    "a value": (
        "Failed to convert value `customer-4711` from type `<class 'str'>` to `long`",
        None,
    ),
    "a date": (
        (
            "Failed to convert value to `datetime`. It must be convertible to "
            "datetime.date/datetime, got `customer-4711`"
        ),
        None,
    ),
    "float of text": (
        f"{UNEXPECTED} Error 'could not convert string to float: 'customer-4711''",
        None,
    ),
    "int of text": ("invalid literal for int() with base 10: 'customer-4711'", None),
    "traceback": ("Boom.\nTraceback (most recent call last):\n  customer-4711", "Boom."),
    "stack trace": ("Boom. Stack trace: customer-4711", "Boom."),
}


@pytest.mark.parametrize(("message", "expected"), ECHOES.values(), ids=ECHOES.keys())
def test_what_is_quoted_from_the_request_is_cut_out(message, expected):
    detail = error_detail(made(error_code="BAD_REQUEST", message=message, stack_trace=message))
    assert "customer" not in detail.message
    assert len(detail.message) > 3
    if expected is not None:
        assert detail.message == expected


# ------------------------------------------------------------------------------- secrets

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl-_x"
CREDENTIALS = {
    "bearer": f"Bearer {JWT}",
    "bearer, lower case": "authorization: bearer abcdefgh12345",
    "header": "Authorization: Bearer opaque-token-1",
    "header, echoed as JSON": '{"Authorization": "Bearer opaque-token-1"}',
    "header, basic": "Authorization: Basic dG9rZW46ZGFwaTEyMw==",
    "basic": "Basic dG9rZW46ZGFwaTEyMw==",
    "jwt": f"token was {JWT} here",
    "jwt, cut": JWT[:24],
    "personal token": "dapi0123456789abcdef0123456789abcdef",
    "personal token, Azure": "dapi0123456789abcdef0123456789abcdef-2",
    "oauth secret": "dose0123456789abcdef0123456789abcdef",
    "client secret": "client_secret=hunter2hunter2&x=1",
    "access token": '"access_token":"opaque-token-1"',
}


@pytest.mark.parametrize("text", CREDENTIALS.values(), ids=[f"55 {n}" for n in CREDENTIALS])
@pytest.mark.parametrize("form", ["message", "text", "html", "code"])
def test_whatever_looks_like_a_credential_is_redacted(text, form):
    body = {
        "message": made(error_code="X", message=f"You sent {text}"),
        "text": f"You sent {text}".encode(),
        "html": f"<pre>You sent {text.replace('<', '')}</pre>".encode(),
        "code": made(error_code=text, message="m"),
    }[form]
    shown = repr(error_detail(body, JSON))
    assert "[redacted]" in shown or "[not shown]" in shown
    for secret in ("opaque-token", "dG9r", "eyJ", "dapi0", "dose0", "hunter2", "abcdefgh"):
        assert secret not in shown


def test_55_given_secrets_are_redacted_whatever_they_look_like():
    detail = error_detail(made(error_code="s3cr3t", message="a s3cr3t b"), JSON, ("", "s3cr3t"))
    assert detail == ErrorDetail("[redacted]", "a [redacted] b")
    assert redacted("x s3cr3t", ("s3cr3t",)) == "x [redacted]"


@pytest.mark.parametrize("before", range(990, 1030))
def test_55_no_half_of_a_secret_is_left_where_the_message_is_cut(before):
    secret = "q" * 8 + "Z" * 24
    detail = error_detail(("x " * 600)[:before].encode() + secret.encode(), JSON, (secret,))
    assert "Z" not in detail.message


# ------------------------------------------------------------------------------- bounds

MEGABYTE = b"customer-4711 " * 70_000
BIG = {
    "54 50 MB of text": (b"word " * 10_000_000, None),
    "54 50 MB of JSON": (
        b'{"error_code": "X_Y", "message": "' + b"word " * 10_000_000 + b'"}',
        "X_Y",
    ),
    "54 50 MB after the message": (
        b'{"error_code": "X_Y", "message": "m", "x": "' + MEGABYTE * 50 + b'"}',
        "X_Y",
    ),
    "54 1 MB of JSON": (b'{"error_code":"X_Y","message":"' + b"word " * 190_000 + b'"}', "X_Y"),
    "54 binary": (bytes(range(256)) * 40_000, None),
    "54 HTML": (b"<html><pre>" + b"a" * 1_000_000, None),
    "54 HTML without end": (b"<pre" * 200_000, None),
    "white space": (b'{"message": "' + b" " * 900_000 + b'x"}', None),
    "quotes": (made(message="': " * 60_000), None),
    "colons": (made(message=": " * 60_000), None),
    "backslashes": (b'{"message": "' + b"\\" * 60_000, None),
    "half tokens": (made(message="token " * 20_000), None),
    "dashes": (made(message="eyJ-" * 20_000), None),
    "emoji": (made(message="🎈" * 20_000), None),
}


@pytest.mark.parametrize(("body", "code"), BIG.values(), ids=BIG.keys())
def test_large_and_hostile_bodies_are_cut_and_quick(body, code):
    started = time.perf_counter()
    detail = error_detail(body, JSON)
    took_s = time.perf_counter() - started
    assert detail.code == code
    assert len(detail.message.encode()) <= 1024
    assert "customer" not in detail.message
    assert took_s < 1  # 100 ms on a quiet machine


def test_messagepack_is_read_where_it_is_named_and_text_where_it_is_not():
    packed = msgpack.packb({"error_code": "BAD_REQUEST", "message": "wrong column"})
    kind = "application/msgpack"
    assert error_detail(packed, kind) == ErrorDetail("BAD_REQUEST", "wrong column")
    assert error_detail(b"upstream failed", kind).message == "upstream failed"
    assert error_detail(packed, "application/json").code is None
