"""From the bytes of a reply with status 200 to the predictions, or to the error it really is.

orjson reads the reply. The scoring server also writes bare ``NaN`` and ``Infinity``, which orjson
refuses; only for these the standard library reads it, and only after orjson has accepted everything
else: alone it would also take a byte order mark, lone surrogates, ``1e400`` and unlimited depth.

Worth knowing: of a repeated key the last one counts, and whole numbers beyond 64 bits arrive as
floats.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from servingclient.errors import ResponseFormatError, ServerError
from servingclient.payload.errors_body import error_detail
from servingclient.payload.pack import is_msgpack, unpack


def predictions(
    body: bytes,
    content_type: str | None,
    *,
    wrapped: bool,
    secrets: tuple[str, ...] = (),
    msgpack: bool = False,
) -> Any:
    """What the model returned.

    Args:
        body: The whole body of a reply with status 200, decoded.
        content_type: Its Content-Type, for the message if it is none of JSON.
        wrapped: Whether the values are expected under ``predictions`` or, for feature serving,
            ``outputs``; otherwise the whole reply is the value.
        secrets: Texts that must not appear in an error.
        msgpack: Whether a reply may be MessagePack, which its Content-Type then says.

    Returns:
        The value, as the standard JSON types.

    Raises:
        ResponseFormatError: The reply is not what a serving endpoint sends.
        ServerError: The reply is an error in spite of its status.
    """
    reply: Any
    reason = None
    if msgpack and is_msgpack(content_type):
        reply = _unpacked(body)
    else:
        try:
            reply = orjson.loads(body)
        except orjson.JSONDecodeError:
            reply, reason = _with_constants(body)
    if reason is not None:  # raised here: the parser's error, which holds the reply, is over
        raise _unreadable(body, content_type, reason)
    if wrapped and type(reply) is dict:
        if "predictions" in reply:
            return reply["predictions"]
        if "outputs" in reply:
            return reply["outputs"]
    elif not wrapped and not (type(reply) is dict and "error_code" in reply):
        return reply
    raise _no_predictions(reply, body, content_type, secrets)


def _with_constants(body: bytes) -> tuple[Any, str | None]:
    """The value, or why there is none."""
    try:
        return parse_constants(body), None
    except (ValueError, RecursionError) as error:
        return None, _reason(error)


def _unpacked(body: bytes) -> object:
    try:
        return unpack(body)
    except ValueError as error:
        reason = str(error)
    raise ResponseFormatError(
        f"The reply is no valid MessagePack ({len(body):,} bytes): {reason}. Let the gateway "
        "send what JSON could hold, or answer in JSON."
    )


def _no_predictions(
    reply: Any, body: bytes, content_type: str | None, secrets: tuple[str, ...]
) -> ServerError | ResponseFormatError:
    if not isinstance(reply, dict):
        return ResponseFormatError(
            f"The reply is a JSON {_json_type(reply)}, not an object with predictions. Check that "
            "host and endpoint name a serving endpoint."
        )
    if "error_code" in reply:
        detail = error_detail(body, content_type, secrets)
        return ServerError(
            f"The endpoint answered 200 with an error. {detail.code}: {detail.message}"
        )
    keys = ", ".join(ascii(key)[:40] for key in list(reply)[:10]) or "none"
    more = f" and {len(reply) - 10} more" if len(reply) > 10 else ""
    return ResponseFormatError(
        f"The reply has neither predictions nor outputs. Its keys: {keys}{more}. Check that host "
        "and endpoint name a serving endpoint."
    )


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


# ------------------------------------------------------------------------------- bare constants

# A string always matches to its end, or to the end of the text, so the search is linear.
_STRING_OR_CONSTANT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|NaN|-?Infinity', re.DOTALL)


def parse_constants(body: bytes) -> Any:
    """JSON with bare ``NaN``, ``Infinity`` and ``-Infinity``, and nothing else orjson refuses.

    Args:
        body: JSON text, UTF-8.

    Returns:
        The value.

    Raises:
        ValueError: It is no such text.
        RecursionError: It is nested too deeply.
    """
    # judged by orjson, with numbers in place of the constants; then read as it is
    orjson.loads(_STRING_OR_CONSTANT.sub(_zero, body))
    return json.loads(body.decode(), parse_int=_integer)


def _zero(match: re.Match[bytes]) -> bytes:
    found = match.group()
    return found if found.startswith(b'"') else b"0"


def _integer(digits: str) -> int | float:
    """The same number orjson gives: a float beyond 64 bits."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _unreadable(body: bytes, content_type: str | None, reason: str) -> ResponseFormatError:
    kind = ascii(content_type)[1:-1][:100] if content_type else "no content type"
    if not body:
        return ResponseFormatError(
            f"The reply has status 200 and no body ({kind}). A proxy in between may have lost it."
        )
    if "html" in kind.lower() or body[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return web_page(f"{kind}, {len(body):,} bytes")
    if "event-stream" in kind.lower():
        return ResponseFormatError(
            f"The reply is a stream of events ({kind}), not one value. Call stream(...) for it, or "
            "leave 'stream' out of the body."
        )
    return ResponseFormatError(
        f"The reply is no valid JSON ({kind}, {len(body):,} bytes): {reason}. Something "
        "between here and the endpoint may have changed or cut it."
    )


def web_page(what: str) -> ResponseFormatError:
    """The error of a reply with status 200 that is a page for people.

    Args:
        what: What is known of it.
    """
    return ResponseFormatError(
        f"The reply is a web page ({what}), most likely a login page. Check host: is it the "
        "workspace's own, reached through a private link or a proxy that asks for a login?"
    )


def _reason(error: Exception) -> str:
    """What the parser says, which is a description and a position, without any of the text."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.split(': line')[0]}, byte {error.pos}"
    return "nested too deeply" if isinstance(error, RecursionError) else type(error).__name__
