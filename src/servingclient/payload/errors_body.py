"""What the body of an error reply says: code, message and wait, cut, redacted and without payload.

The shapes seen from the service and what stands before it:

1. ``{"error_code": "NAME", "message": "...", "details": [...]}``
2. the same with an integer code
3. ``{"error": "..."}``, OAuth's ``{"error", "error_description"}``, SCIM's and FastAPI's
   ``{"detail": ...}``, plain ``CODE: message``, HTML, nothing
4. ``{"error": {"message", "type", "code", "retry_after"}}`` of foundation models
5. MLflow's ``{"error_code", "message", "stack_trace"}``, and plain text labelled as JSON

MLflow's messages quote the input they refuse, and its stack traces quote the model's source. An
error must hold neither, so what is known to be quoted is cut out and only the first line is kept.
"""

from __future__ import annotations

import html
import math
import re
from typing import Any

import orjson

from servingclient._types import ErrorDetail
from servingclient.payload.pack import is_msgpack, unpack

MESSAGE_BYTES = 1024
"""Longest message, in UTF-8; the service's own texts stay under 300."""
PARSED_BYTES = 1024 * 1024
"""A longer body is not parsed but searched at its start: 50 MB would take a second."""
PREFIX_BYTES = 64 * 1024
"""How much of a body that is no JSON is looked at."""


def error_detail(
    body: bytes, content_type: str | None = None, secrets: tuple[str, ...] = ()
) -> ErrorDetail:
    """Read the body of an error reply. Never raises.

    Args:
        body: The body, decoded; any length, any content.
        content_type: Its Content-Type, which is believed only where the body does not say more.
        secrets: Texts that must not appear in the result: the token that was sent, say.

    Returns:
        Code, message (at most 1 KB) and wait hint.
    """
    code, message, wait = _read(body, content_type)
    return ErrorDetail(
        code=_clean(code, secrets, 100) or None if code is not None else None,
        message=_clean(_without_echo(message), secrets, MESSAGE_BYTES),
        retry_after_s=wait,
    )


Found = tuple["str | None", str, "float | None"]


def _read(body: bytes, content_type: str | None) -> Found:
    if is_msgpack(content_type) and len(body) <= PARSED_BYTES:
        try:
            return _from_json(unpack(body))
        except ValueError:
            pass  # mislabelled: its text may still say something
    start = body[:PREFIX_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return None, "", None
    if start[:1] in b'{["':
        try:
            return _from_json(orjson.loads(body if len(body) <= PARSED_BYTES else b""))
        except orjson.JSONDecodeError:
            if start[:1] == b"{":
                return _from_broken_json(start)
    if start[:1] == b"<" or "html" in (content_type or "").lower():
        return None, _from_html(start, len(body)), None
    return _from_text(start, len(body))


# ------------------------------------------------------------------------------- JSON


def _from_json(reply: Any) -> Found:
    if isinstance(reply, str):
        return None, reply, None
    if not isinstance(reply, dict):
        return None, "", None
    nested = reply.get("error")
    if isinstance(nested, dict):
        code = _text(nested.get("type")) or _text(nested.get("code"))
        return code, _text(nested.get("message")) or "", _seconds(nested.get("retry_after"))
    code = _text(reply.get("error_code")) or _text(reply.get("scimType"))
    wait = _seconds(reply.get("retry_after"))
    message = _text(reply.get("message")) or _text(reply.get("error_description"))
    if message is not None:
        return code or _text(nested), message, wait
    detail = reply.get("detail")
    if isinstance(detail, list):
        return code, "; ".join(filter(None, map(_validation, detail[:10]))), wait
    message = _text(nested) or _text(detail) or ""
    return code or (_text(reply.get("status")) if detail is not None else None), message, wait


def _validation(entry: Any) -> str:
    """FastAPI's validation errors quote the input beside message and place."""
    if not isinstance(entry, dict):
        return ""
    place = entry.get("loc")
    parts = map(_text, place[:6]) if isinstance(place, list) else ()
    where = ".".join(part[:40] for part in parts if part is not None)
    return f"{where}: {_text(entry.get('msg')) or ''}"


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


_STRING_FIELD = r'"%s"\s*:\s*("(?:[^"\\]|\\.){0,8192})'


def _from_broken_json(start: bytes) -> Found:
    """A JSON object that is cut off, broken or too long to parse: fields found at its start."""
    text = start.decode("utf-8", "replace")
    code = re.search(r'"error_code"\s*:\s*(?:"([^"\\]{1,100})"|(\d{1,9}))', text)
    message = re.search(_STRING_FIELD % "message", text) or re.search(_STRING_FIELD % "error", text)
    words = ""
    if message:
        words = message.group(1)[1:]
        try:
            words = orjson.loads(f'"{words}"')
        except orjson.JSONDecodeError:
            words = words.replace("\\n", "\n")
    return (code.group(1) or code.group(2)) if code else None, words, None


# ------------------------------------------------------------------------------- HTML, text


def _from_html(start: bytes, size: int) -> str:
    text = start.decode("utf-8", "replace")
    for tag in ("pre", "title", "h1"):
        found = re.search(rf"<{tag}\b[^>]{{0,200}}>([^<]{{1,2000}})", text, re.IGNORECASE)
        if found and found.group(1).strip():
            return " ".join(html.unescape(found.group(1)).split())
    return f"a web page of {size:,} bytes"


def _from_text(start: bytes, size: int) -> Found:
    text = start.decode("utf-8", "replace")
    odd = sum(
        not (char.isprintable() or char in "\r\n\t") or char == "\ufffd" for char in text[:512]
    )
    if odd * 8 > min(len(text), 512):
        return None, f"{size:,} bytes of binary data", None
    named = re.match(r"([A-Z][A-Z_]{2,60}): (.{1,4000})", text)
    if named:
        return named.group(1), named.group(2), None
    return None, text, None


# ------------------------------------------------------------------------------- what may be said

_QUOTES_INPUT = re.compile(r"^Failed to (predict|enforce schema of) ?(data)? ?['`]")
# to the last quote of the line: a value may hold quotes itself
_QUOTED_VALUE = re.compile(
    r"""(?x) (\b(?:value|got|data|of|literal)\s | :\s*) b? ([`'"]) (?: .*\2 | .* )"""
)
_END = re.compile(r"\bInput:|Traceback \(most recent call last\)|Stack ?trace:", re.IGNORECASE)


def _without_echo(message: str) -> str:
    """The message without the parts of the request that MLflow and Python quote in it."""
    quoting = _QUOTES_INPUT.match(message)
    if quoting:
        _, found, reason = message.rpartition("Error: ")
        what = "predict" if quoting.group(1) == "predict" else "enforce the schema"
        message = f"Failed to {what} (the input is not shown). {reason if found else ''}"
    message = _END.split(message, maxsplit=1)[0].strip().split("\n", 1)[0]
    return _QUOTED_VALUE.sub(r"\1[not shown]", message[:PREFIX_BYTES])


_SECRETS = re.compile(
    r"""(?ix)
      \b (?: proxy-)? authorization ["']? \s* [:=] \s* ["']? (?: (?:bearer|basic) \s+ )? [^\s"',;]+
    | \b (?: bearer | basic ) \s+ (?= \S{0,64}\d | \S{24} ) [\w.~+/=-]{8,}
    | \b eyJ [\w-]{6,} (?: \. [\w-]* ){0,2}
    | \b (?: dapi | dose | dkea ) [0-9a-f]{6,} (?: -\d+ )?
    | \b (?: access_token | refresh_token | id_token | client_secret | api_?key | password )
      ["']? \s* [:=] \s* ["']? [^\s"',;&]{6,}
    | \b token ["']? \s* [:=] \s* ["']? [^\s"',;&]{16,}
    """
)


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """``text`` without anything that looks like a credential, and without ``secrets``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    return _SECRETS.sub("[redacted]", text)


def _clean(text: str, secrets: tuple[str, ...], most_bytes: int) -> str:
    """One printable line without secrets, at most ``most_bytes`` long in UTF-8."""
    # redacted before it is cut, so that no half of a secret remains at the end
    line = redacted(text, secrets)
    line = "".join(char if char.isprintable() else " " for char in line[: 4 * most_bytes])
    raw = " ".join(line.split()).encode("utf-8", "replace")
    if len(raw) <= most_bytes:
        return raw.decode()
    return raw[: most_bytes - 4].decode("utf-8", "ignore") + " ..."
