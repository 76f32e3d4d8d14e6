"""Header lines and targets. Pure; everything that goes into a request's head is checked here first.

The lanes write the head as bytes, so nothing behind this module would notice a line break inside a
value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from servingclient._types import Origin, Target
from servingclient.errors import ConfigError
from servingclient.transport import exchange
from servingclient.transport.exchange import is_header_value, is_token

Headers = tuple[tuple[str, str], ...]

_METHOD = re.compile(r"[A-Z]{1,16}")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%?/-]*")

_RESERVED = frozenset(
    (
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "accept-encoding",
        "authorization",
        "x-databricks-workspace-id",
        "x-databricks-org-id",
    )
)
"""Names the client sets itself: framing, what it can decode, and who is calling."""


def check_header(name: str, value: str) -> tuple[str, str]:
    """Name and value, once it is certain that they make exactly one header line.

    Raises:
        ConfigError: The name is no RFC 9110 token, or the value is empty, begins or ends with a
            blank, or holds a control character or one beyond Latin-1. The value is not shown.
    """
    if not is_token(name):
        raise ConfigError("A header name must be letters, digits and dashes, without blanks.")
    if not value or not is_header_value(value):
        raise ConfigError(
            f"The value of header {name} is empty, has a blank or line break at an edge, or holds "
            "a character that may not stand in a header. Strip it, or encode it."
        )
    return name, value


def check_user_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """``Settings.headers``, checked; none may replace what the client sets itself.

    Raises:
        ConfigError: A header is malformed, reserved, or given twice.
    """
    checked = tuple(check_header(name, value) for name, value in headers)
    seen: set[str] = set()
    for name, _ in checked:
        if name.lower() in _RESERVED:
            raise ConfigError(f"Header {name} is set by the client; remove it from headers.")
        if name.lower() in seen:
            raise ConfigError(f"Header {name} is given twice in headers; join the values.")
        seen.add(name.lower())
    return checked


def standard_headers(
    version: str, *, content_type: str | None = "application/json", extra: Headers = ()
) -> Headers:
    """What every request carries; ``extra`` replaces ``Accept`` and ``User-Agent`` where given.

    Args:
        version: The library's version, for ``User-Agent``.
        content_type: Of the body; None for a request without one.
        extra: Further headers, already checked.
    """
    ours = [
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip"),
        ("User-Agent", f"servingclient/{version}"),
    ]
    if content_type is not None:
        ours.append(("Content-Type", content_type))
    given = {name.lower() for name, _ in extra}
    return (*(pair for pair in ours if pair[0].lower() not in given), *extra)


def request_head(method: str, origin: Origin, path: str, headers: Headers) -> bytes:
    r"""The head of an HTTP/1.1 request up to where ``Content-Length: N\r\n\r\n`` follows.

    Raises:
        ConfigError: A part is not what it must be; see :func:`check_header`.
    """
    if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path):
        raise ConfigError("A request needs a method in capitals and a plain, encoded path.")
    for name, value in headers:
        check_header(name, value)
        if name.lower() in ("host", "content-length", "transfer-encoding"):
            raise ConfigError(f"Header {name} is written by the connection itself.")
    return exchange.request_head(method, origin, path, headers)


def make_target(origin: Origin, method: str, path: str, headers: Headers) -> Target:
    """A destination whose head is built once and sent many times.

    Raises:
        ConfigError: As :func:`request_head`.
    """
    return Target(origin, method, path, headers, request_head(method, origin, path, headers))
