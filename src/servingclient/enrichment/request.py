"""One request to an external API, and what came of it. Pure values."""

from __future__ import annotations

from typing import Any, NamedTuple

from servingclient.enrichment.cache_control import Said


class Request(NamedTuple):
    """What to ask for.

    Attributes:
        method: ``GET`` or ``POST``.
        template: What messages show in place of the path.
        path: Path with query below the base URL, encoded.
        body: The request's body.
        idempotent: Whether asking twice does no harm.
        etag: Validator of what is known already, or None.
        absent: Whether 404 and 410 say that there is no such thing, and not that the path is wrong.
        brief: Something past its time can be given out instead: one try, and hardly any waiting.
    """

    method: str
    template: str
    path: str
    body: bytes = b""
    idempotent: bool = True
    etag: str | None = None
    absent: bool = True
    brief: bool = False


class Fetched(NamedTuple):
    """What the API answered.

    Attributes:
        value: Decoded; None for none such and for what has not changed.
        size_bytes: Size of the body.
        negative: 404 or 410.
        unchanged: 304: what is known is still right.
        said: What the headers say about keeping it.
        took_s: Seconds from the start of the call to the answer.
    """

    value: Any
    size_bytes: int
    negative: bool
    unchanged: bool
    said: Said
    took_s: float
