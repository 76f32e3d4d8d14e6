"""Everything that can go wrong with one request, by name.

A fault is a value. ``Emulator.script(endpoint, ...)`` consumes one per request, first in first out;
``Emulator.always(endpoint, ...)`` applies to every request without a scripted one. The same values
work for the token endpoint (``token_script``) and for the endpoint's description
(``describe_script``).
"""

from __future__ import annotations

import gzip as gzip_format
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from servingclient.emulator import security, throttling
from servingclient.emulator.delivery import (
    Cut,
    CutStream,
    Doubled,
    Drip,
    Drop,
    Hang,
    Informational,
    Raw,
    SilentClose,
)
from servingclient.emulator.fault import Fault
from servingclient.emulator.oidc import oauth_error
from servingclient.emulator.throttling import ThrottleKind
from servingclient.emulator.wire import HTML, JSON, TEXT, Reply, Request, error

if TYPE_CHECKING:
    from collections.abc import Callable

When = Literal["before", "after", "mid_reply"]


def ok() -> Fault:
    """A good answer, also under a standing fault."""
    return Fault("ok", runs=True)


# ---------------------------------------- 429


def throttled(
    retry_after: float | str | None = None,
    *,
    in_body: float | None = None,
    kind: ThrottleKind = "endpoint",
    clock_skew_s: float = 0.0,
) -> Fault:
    """429.

    Args:
        retry_after: seconds as int or float; ``"date"`` for an HTTP date two seconds ahead,
            ``"absurd"`` for a year, any other text as it stands; ``None``, the default and the
            service's habit, sends no header.
        in_body: the foundation models' body, with this ``retry_after`` in it.
        kind: which limit was hit.
        clock_skew_s: how far the ``date`` of the reply, and with it an HTTP date in
            ``retry-after``, is ahead of this machine's clock.
    """

    def reply(request: Request) -> Reply:
        if in_body is not None:
            made = throttling.foundation_reply(in_body)
        else:
            made = throttling.reply(kind, throttling.endpoint_name(request.path))
        if retry_after is not None:
            value = throttling.retry_after_value(retry_after, clock_skew_s)
            made = made.with_headers(("retry-after", value))
        return replace(made, clock_skew_s=clock_skew_s)

    return Fault("throttled", answer=reply)


# ---------------------------------------- connections


def reset(when: When = "before") -> Fault:
    """RST: before the request is processed, after it was, or in the middle of the reply's body."""
    if when == "mid_reply":
        return Fault("reset", runs=True, delivery=Cut("reset"))
    return Fault("reset", runs=when == "after", delivery=Drop("reset"))


def disconnect(when: When = "before") -> Fault:
    """FIN instead of RST; mid-reply it leaves fewer bytes than ``content-length`` said."""
    if when == "mid_reply":
        return Fault("disconnect", runs=True, delivery=Cut("fin"))
    return Fault("disconnect", runs=when == "after", delivery=Drop("fin"))


def hang(when: Literal["before", "after"] = "before") -> Fault:
    """No reply, ever, and the connection stays open."""
    return Fault("hang", runs=when == "after", delivery=Hang())


def slow(delay_s: float) -> Fault:
    """A good answer that comes late; the model runs at once."""
    return Fault("slow", runs=True, delay_s=delay_s)


def close_silently() -> Fault:
    """A good answer, then FIN without having announced it."""
    return Fault("close_silently", runs=True, delivery=SilentClose())


def announce_close() -> Fault:
    """A good answer with ``connection: close``, then FIN."""
    return Fault("announce_close", runs=True, reshape=_announce, delivery=SilentClose())


def _announce(reply: Reply) -> Reply:
    return reply.with_headers(("connection", "close"))


def drip(
    part: Literal["head", "body"] = "body", *, interval_s: float = 0.05, piece_bytes: int = 1
) -> Fault:
    """A good answer in small pieces."""
    return Fault("drip", runs=True, delivery=Drip(part, interval_s, piece_bytes))


def informational(count: int = 3, *, interval_s: float = 0.0) -> Fault:
    """Interim 103 replies before a good answer."""
    return Fault("informational", runs=True, delivery=Informational(count, interval_s))


def second_reply(body: bytes = b'{"predictions":["POISON"]}') -> Fault:
    """A good answer and a second, unasked one: the next call must not get it."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n\r\n"
    return Fault("second_reply", runs=True, delivery=Doubled(head.encode() + body))


def raw(
    data: bytes | str, *, then: Literal["keep", "fin", "reset"] = "fin", executed: bool = False
) -> Fault:
    """Exactly these bytes on the wire."""
    wire = data.encode("latin-1") if isinstance(data, str) else data
    return Fault("raw", runs=executed, delivery=Raw(wire, then))


# ---------------------------------------- gateway noise


def answer(
    status: int = 200,
    body: bytes | str = b"",
    *,
    content_type: str | None = JSON,
    headers: dict[str, str] | None = None,
    executed: bool = False,
    delay_s: float = 0.0,
) -> Fault:
    """Any reply at all, with the model run before it when ``executed``."""
    data = body.encode() if isinstance(body, str) else body
    reply = Reply(status, data, content_type, tuple((headers or {}).items()))
    return Fault("answer", runs=executed, answer=lambda _: reply, delay_s=delay_s)


def html(status: int = 502, *, executed: bool = False) -> Fault:
    """A gateway's HTML page."""
    title = f"{status} Bad Gateway"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return replace(answer(status, page, content_type=HTML, executed=executed), name="html")


def plain(
    status: int = 503, text: str = "upstream connect error", *, executed: bool = False
) -> Fault:
    """A gateway's line of text."""
    return replace(answer(status, text, content_type=TEXT, executed=executed), name="plain")


def empty(status: int = 504, *, executed: bool = False) -> Fault:
    """A status and nothing else."""
    return replace(answer(status, content_type=None, executed=executed), name="empty")


def execution_timeout(*, executed: bool = True) -> Fault:
    """504 with plain text labelled JSON, as the reference server sends it."""
    text = "Request processing time exceeded limit"
    return replace(answer(504, text, executed=executed), name="execution_timeout")


def login_page() -> Fault:
    """200 with an HTML login page, as an intercepting proxy sends it."""
    page = (
        "<!doctype html><html><head><title>Sign in</title></head><body><form></form></body></html>"
    )
    return replace(answer(200, page, content_type=HTML), name="login_page")


def redirect(location: str, status: int = 307) -> Fault:
    """A redirect."""
    return replace(
        answer(status, headers={"location": location}, content_type=None), name="redirect"
    )


def echo_authorization(status: int = 500) -> Fault:
    """An error body that repeats the caller's ``Authorization`` header."""

    def reply(request: Request) -> Reply:
        message = (
            f"upstream failed; request had authorization={request.headers.get('authorization')}"
        )
        return error(status, "INTERNAL_ERROR", message)

    return Fault("echo_authorization", answer=reply)


def wrong_content_type(content_type: str | None = TEXT) -> Fault:
    """A good answer with the wrong label."""
    return Fault(
        "wrong_content_type",
        runs=True,
        reshape=lambda reply: replace(reply, content_type=content_type),
    )


def truncated_json() -> Fault:
    """A good answer that stops halfway, with a ``content-length`` that fits what was sent."""
    return Fault(
        "truncated_json",
        runs=True,
        reshape=lambda reply: replace(reply, body=reply.body[: len(reply.body) // 2]),
    )


def body(data: bytes | str) -> Fault:
    """200 and this body, after the model ran."""
    return replace(answer(200, data, executed=True), name="body")


# ---------------------------------------- predictions of another shape

Shape = Literal["short", "long", "dict", "columns", "scalar", "missing"]


def misshapen(shape: Shape) -> Fault:
    """A good answer whose predictions are no list of one for each row.

    Args:
        shape: ``short`` lacks the last one, ``long`` has it twice; ``dict`` holds them by row
            number, ``columns`` as one list under a name; ``scalar`` is the first alone, and
            ``missing`` leaves them out.
    """
    if shape not in _SHAPES:
        raise TypeError(f"no shape {shape!r}; there are {', '.join(_SHAPES)}")

    def reshape(reply: Reply) -> Reply:
        if reply.status != 200:
            return reply
        changed: dict[str, object] = {}
        for key, rows in json.loads(reply.body).items():
            changed |= _SHAPES[shape](key, rows)
        return replace(reply, body=json.dumps(changed).encode())

    return Fault(f"misshapen_{shape}", runs=True, reshape=reshape)


_SHAPES: dict[str, Callable[[str, list[object]], dict[str, object]]] = {
    "short": lambda key, rows: {key: rows[:-1]},
    "long": lambda key, rows: {key: [*rows, *rows[-1:]]},
    "dict": lambda key, rows: {key: {str(place): row for place, row in enumerate(rows)}},
    "columns": lambda key, rows: {key: {"prediction": rows}},
    "scalar": lambda key, rows: {key: rows[0] if rows else None},
    "missing": lambda _, __: {},
}


# ---------------------------------------- compression


def gzip(
    variant: Literal["good", "truncated", "multi_member", "bad_checksum", "trailing"] = "good",
) -> Fault:
    """A good answer, compressed; or compressed and damaged."""
    return Fault(f"gzip_{variant}", runs=True, reshape=lambda reply: _gzipped(reply, variant))


def gzip_bomb(inflated_bytes: int = 64 * 1024 * 1024) -> Fault:
    """A small body that inflates to ``inflated_bytes`` of blanks inside valid JSON."""
    packed = gzip_format.compress(b'{"predictions":[' + b" " * inflated_bytes + b"1.0]}", 9)
    headers = {"content-encoding": "gzip"}
    return replace(answer(200, packed, headers=headers, executed=True), name="gzip_bomb")


def _gzipped(reply: Reply, variant: str) -> Reply:
    data = reply.body
    packed = gzip_format.compress(data, 6, mtime=0)
    if variant == "truncated":
        packed = packed[: len(packed) * 2 // 3]
    elif variant == "multi_member":
        middle = len(data) // 2
        packed = gzip_format.compress(data[:middle], mtime=0) + gzip_format.compress(
            data[middle:], mtime=0
        )
    elif variant == "bad_checksum":
        packed = packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:-4]) + packed[-4:]
    elif variant == "trailing":
        packed += b"garbage"
    return replace(reply, body=packed).with_headers(("content-encoding", "gzip"))


# ---------------------------------------- credentials


def invalid_token(status: Literal[401, 403] = 403) -> Fault:
    """The token is refused as invalid, with an integer ``error_code``."""
    text = "Invalid access token. [ReqId: 00000000]" if status == 403 else "Token is expired"
    return Fault("invalid_token", answer=lambda _: error(status, status, text))


def expiring_token() -> Fault:
    """The token is refused because it ends within 30 seconds."""
    return Fault("expiring_token", answer=lambda _: security.expiring_token())


def permission_denied() -> Fault:
    """The caller lacks CAN QUERY: final, whatever token it fetches."""
    text = "User does not have permission 'Query' on the endpoint."
    return Fault("permission_denied", answer=lambda _: error(403, "PERMISSION_DENIED", text))


def access_denied() -> Fault:
    """Token endpoint: the principal may not have what it asks for."""
    text = "The requested permissions are not assigned to the client"
    return Fault("access_denied", answer=lambda _: oauth_error(403, "access_denied", text))


def invalid_scope() -> Fault:
    """Token endpoint: the scope is unknown."""
    return Fault(
        "invalid_scope",
        answer=lambda _: oauth_error(400, "invalid_scope", "Invalid scope: all-apis"),
    )


def invalid_authorization_details() -> Fault:
    """Token endpoint: the principal may not query that endpoint."""
    text = "User is not authorized to the requested authorizations"
    return Fault(
        "invalid_authorization_details",
        answer=lambda _: oauth_error(400, "invalid_authorization_details", text),
    )


def ip_access_list() -> Fault:
    """The caller's address is not on the workspace's IP access list."""
    text = (
        "Source IP address: 127.0.0.1 is blocked by Databricks IP ACL for workspace: "
        "1234567890123456"
    )
    return Fault("ip_access_list", answer=lambda _: error(403, 403, text))


# ---------------------------------------- streams


def cut_stream(after_events: int = 1, how: Literal["reset", "fin", "end"] = "reset") -> Fault:
    """A stream that stops early; ``end`` ends it cleanly but without ``[DONE]``.

    Replies that are no stream come whole.
    """
    return Fault("cut_stream", runs=True, delivery=CutStream(after_events, how))


def stream_error(after_events: int = 1, message: str = "model failed") -> Fault:
    """A stream with an error event in place of the rest."""
    event = (
        b"data: "
        + json.dumps({"error": {"message": message, "code": "INTERNAL_ERROR"}}).encode()
        + b"\n\n"
    )

    def reshape(reply: Reply) -> Reply:
        return replace(reply, events=((*(reply.events or ())[:after_events], event)))

    return Fault("stream_error", runs=True, reshape=reshape)
