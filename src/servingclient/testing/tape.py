"""Exchanges as they stand in a file: one JSON object a line, without credentials.

Of header lines only a few harmless ones are kept, by name; bodies of logins are left out, and what
looks like a credential in any other body is replaced. Without payloads the values of calls and of
their answers are blanked as well: what is left is their shape.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from servingclient.payload.errors_body import error_detail, redacted

FORMAT = 1
"""Number of the format, in the first line of a file."""

_KEPT_HEADERS = frozenset(
    {
        "content-type",
        "databricks-request-id",
        "date",
        "request-id",
        "retry-after",
        "served-model-name",
        "x-databricks-request-id",
        "x-request-id",
    }
)
_SECRET_KEYS = frozenset(
    {
        "access_token",
        "api_key",
        "assertion",
        "authorization",
        "client_assertion",
        "client_secret",
        "id_token",
        "password",
        "refresh_token",
        "secret",
        "token",
    }
)
_GONE = "redacted"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it.

    Attributes:
        method: Of the request.
        url: Without user info, query and fragment.
        request: Its body: empty for logins and reads, a hash where it is no text.
        status: Of the reply; None where there was none.
        headers: The header lines of the reply that are kept.
        body: Of the reply, decoded; bytes that are no UTF-8 as lone surrogates.
        error: Name of httpx's exception, where there was no reply.
        complete: The reply was read to its end.
    """

    method: str
    url: str
    request: str
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    error: str | None = None
    complete: bool = True

    @property
    def is_call(self) -> bool:
        """Whether a model was called; else the client asked something for itself."""
        return is_call(self.url)

    def line(self) -> str:
        """The exchange as it stands in a file."""
        return json.dumps(asdict(self))

    @classmethod
    def of_line(cls, line: str) -> Exchange:
        """Read it back.

        Raises:
            ValueError: The line is none of an exchange.
        """
        try:
            found = json.loads(line)
            headers = tuple((name, value) for name, value in found.pop("headers"))
            return cls(**found, headers=headers)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no recorded exchange: {type(error).__name__}") from None


def is_call(url: str) -> bool:
    """Whether a URL is one at which models are called."""
    return url.endswith("/invocations")


def request_text(url: str, content: bytes, *, payloads: bool) -> str:
    """The body of a request as it is kept and compared.

    Args:
        url: Where it goes.
        content: The bytes.
        payloads: Whether values may be kept.
    """
    if not is_call(url):
        return ""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return f"sha256 {hashlib.sha256(content).hexdigest()}"
    try:
        value = json.loads(text)
    except ValueError:
        return redacted(text) if payloads else ""
    return json.dumps(_scrubbed(value) if payloads else _blank(value), sort_keys=True)


def reply_headers(lines: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The header lines that are kept."""
    return tuple((name, value) for name, value in lines if name.lower() in _KEPT_HEADERS)


def reply_text(
    url: str, status: int, body: bytes, secrets: tuple[str, ...], *, payloads: bool
) -> str:
    """The body of a reply as it is kept.

    Args:
        url: Where it comes from.
        status: HTTP status.
        body: The bytes, decoded.
        secrets: Texts that must not appear: the credential that was sent.
        payloads: Whether values may be kept.
    """
    text = body.decode("utf-8", "surrogateescape")
    if payloads or not is_call(url):
        return _changed(
            text, partial(_scrubbed, secrets=secrets), partial(redacted, secrets=secrets)
        )
    if status >= 400:
        detail = error_detail(body, None, secrets)
        return json.dumps({"error_code": detail.code, "message": detail.message})
    return _changed(text, _blank, _unknown)


def _changed(text: str, change: Callable[[Any], Any], other: Callable[[str], str]) -> str:
    """A text with its JSON changed, whole or in the events of a stream; else as ``other`` says.

    Where nothing is to be changed it is the very text: how numbers are written must not change.
    """
    found = _json_changed(text, change)
    if found is not None:
        return found
    return "\n".join(_line_changed(line, change, other) for line in text.split("\n"))


def _line_changed(line: str, change: Callable[[Any], Any], other: Callable[[str], str]) -> str:
    name, _, value = line.partition(":")
    if not line.strip() or line.strip() == "data: [DONE]":
        return line
    found = _json_changed(value, change) if name == "data" else None
    return other(line) if found is None else f"data: {found.strip()}"


def _json_changed(text: str, change: Callable[[Any], Any]) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    changed = change(value)
    return text if changed == value else json.dumps(changed)


def _unknown(line: str) -> str:
    """What may hold anything is gone; only the type of an event is no payload."""
    return line if line.startswith("event:") else ""


def _scrubbed(value: Any, secrets: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {
            key: _GONE
            if key.lower() in _SECRET_KEYS and isinstance(one, str)
            else _scrubbed(one, secrets)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_scrubbed(one, secrets) for one in value]
    return redacted(value, secrets) if isinstance(value, str) else value


def _blank(value: Any) -> Any:
    """The shape of a value: its keys, lengths and types."""
    if isinstance(value, dict):
        return {key: _blank(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_blank(one) for one in value]
    return None if value is None else type(value)()
