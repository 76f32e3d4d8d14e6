"""gzip, on the way in and on the way out."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from servingclient.emulator import scoring

if TYPE_CHECKING:
    from servingclient.emulator.wire import Reply


def inflated(body: bytes, limit_bytes: int) -> bytes | None:
    """Return a request's body inflated, ``None`` when that is more than the limit.

    Raises:
        Refused: when it is no gzip, or not all of it.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        whole = inflater.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise scoring.invalid("The gzip body is damaged.") from None
    if len(whole) > limit_bytes:
        return None
    if not inflater.eof:
        raise scoring.invalid("The gzip body is damaged.")
    return whole


def gzipped(reply: Reply) -> Reply:
    """Return the reply compressed, unless there is nothing to compress or it is already."""
    if not reply.body or any(name == "content-encoding" for name, _ in reply.headers):
        return reply
    packed = gzip.compress(reply.body, 1, mtime=0)
    return replace(reply, body=packed).with_headers(("content-encoding", "gzip"))
