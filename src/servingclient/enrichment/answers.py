"""Which replies of an API are answers, and the value of one. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from servingclient._prediction import request_id
from servingclient._types import Reply
from servingclient.enrichment import explain
from servingclient.enrichment.request import Request
from servingclient.errors import ServingError

_NO_BODY: Final = frozenset({204, 205})
GOOD: Final = frozenset({200, 201, 202, 203, *_NO_BODY})
"""A value."""
NONE_SUCH: Final = frozenset({404, 410})
"""There is no such thing."""
UNCHANGED: Final = 304


def is_answer(status: int) -> bool:
    """Whether the API did what it is there for."""
    return status in GOOD or status == UNCHANGED or status in NONE_SUCH


def is_absent(status: int, request: Request) -> bool:
    """Whether a reply says that there is no such thing, and not that the path is wrong."""
    return status in NONE_SUCH and request.absent


def value_of(reply: Reply, what: str, limit_bytes: int) -> Any:
    """The value in a good reply.

    Args:
        reply: It.
        what: What messages call the request.
        limit_bytes: Largest body that is taken.

    Raises:
        ResponseTooLarge: It is larger.
        ResponseFormatError: It is no JSON.
    """
    size = len(reply.body)
    if size > limit_bytes:
        raise _complete(explain.too_large(what, size, limit_bytes), reply)
    if reply.status in _NO_BODY and not reply.body:
        return None
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        found = explain.not_json(what, size, reply.header(b"content-type"))
    raise _complete(found, reply)


def _complete(error: ServingError, reply: Reply) -> ServingError:
    error.status_code, error.sent = reply.status, "yes"
    error.request_id = request_id(reply.headers)
    return error
