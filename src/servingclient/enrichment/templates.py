"""Paths with places for values: ``/users/{id}``. Pure.

A value is always one segment of the path. It is percent-encoded whole, so ``../admin`` becomes
``..%2Fadmin``, and ``.`` and ``..`` alone are refused: a server would take them for "here" and
"above" (RFC 3986 section 5.2.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode
from uuid import UUID

from servingclient.errors import ConfigError, PayloadError

Params = tuple[tuple[str, str], ...]
"""Query parameters as text, sorted by name; several values of one name keep their order."""

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]*")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASH: Final = re.compile(r"[/\\]")
_DOTS: Final = frozenset({"", ".", ".."})
_LONGEST_VALUE: Final = 1024
_LARGEST: Final = 10**100
"""Python refuses to write out an int of more than 4,300 digits, with an error of its own."""
_ARGUMENTS: Final = frozenset(
    {"params", "tags", "ttl", "timeout", "json", "cacheable", "prefix", "tag"}
)
"""Names of keyword arguments of the doors; a place cannot have them."""


class Template:
    """A path with places for values, taken apart once.

    Args:
        text: Such as ``/users/{id}/orders/{order}``.

    Attributes:
        text: The same.
        names: Its places, in order.

    Raises:
        ConfigError: It does not begin with a slash, holds a query, dot segments or a character that
            must be encoded, or a place is malformed or there twice.
    """

    __slots__ = ("_pieces", "names", "text")

    names: tuple[str, ...]

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not text.startswith("/"):
            raise ConfigError(
                "A template must be text that begins with a slash, such as '/users/{id}'."
            )
        self.text: str = text
        pieces = _PLACE.split(text)
        self._pieces, self.names = tuple(pieces[::2]), tuple(pieces[1::2])
        for name in self.names:
            if not name.isidentifier() or name in _ARGUMENTS or self.names.count(name) > 1:
                raise ConfigError(
                    f"A template has a place {{{name[:40]}}}; each needs a name of its own that is "
                    f"an identifier and none of {', '.join(sorted(_ARGUMENTS))}."
                )
        for piece in self._pieces:
            _check_literal(piece)
        segments = _PLACE.sub("x", text).split("/")
        if any(map(leads_elsewhere, segments)):
            raise ConfigError(
                "A template has a segment . or .., encoded or not; write the path it leads to."
            )
        if "" in segments[1:-1]:
            raise ConfigError(
                "A template has two slashes in a row, which a server may take for the name of "
                "another host; write one."
            )

    def segments(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """The values as text, in the order of the places.

        Raises:
            ConfigError: One is missing or has no place, is no text, whole number or UUID, or is
                empty or a dot segment.
        """
        names = self.names
        if len(values) != len(names):
            raise self._misfit(values)
        found = []
        for name in names:
            try:
                value = values[name]
            except KeyError:
                raise self._misfit(values) from None
            if type(value) is int:
                found.append(_digits(name, value))
            elif type(value) is str and value not in _DOTS and len(value) <= _LONGEST_VALUE:
                found.append(value)
            else:
                found.append(_text_of(name, value))
        return tuple(found)

    def path(self, segments: Iterable[str]) -> str:
        """The path with ``segments`` in its places, percent-encoded.

        Raises:
            ConfigError: A value holds half a surrogate pair, which no encoding takes.
        """
        pieces = self._pieces
        parts = [pieces[0]]
        for piece, segment in zip(pieces[1:], segments, strict=True):
            parts.append(_encoded(segment))
            parts.append(piece)
        return "".join(parts)

    def _misfit(self, values: Mapping[str, object]) -> ConfigError:
        missing = [name for name in self.names if name not in values]
        surplus = [name for name in values if name not in self.names]
        what = [f"needs {', '.join(missing)}"] if missing else []
        if surplus:
            what.append(f"has no place for {', '.join(surplus)}")
        return ConfigError(
            f"Template {self.text!r} {' and '.join(what)}. Give one value for each place by its "
            "name; what belongs behind the question mark goes into params=."
        )

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def leads_elsewhere(segment: str) -> bool:
    """Whether a server may take a segment for "here" or "above", once it has decoded it."""
    return any(part in {".", ".."} for part in _SLASH.split(unquote(segment)))


def params_of(params: Mapping[str, Any] | None) -> Params:
    """Query parameters as text, sorted by name.

    Raises:
        ConfigError: It is no mapping of text to text, numbers, truth values or lists of these.
        PayloadError: A number is none (NaN), or infinite.
    """
    if params is None:
        return ()
    given: object = params
    if not isinstance(given, Mapping):
        raise ConfigError(f"params must be a dict, not {type(given).__name__}.")
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        if not isinstance(name, str) or not name:
            raise ConfigError("params must have names that are text.")
        values = value if isinstance(value, (list, tuple)) else (value,)
        found.extend((name, _param_text(name, one)) for one in values)
    found.sort(key=lambda pair: pair[0])  # stable: the order of one name's values may matter
    return tuple(found)


def query_of(params: Params) -> str:
    """The query with its question mark; empty without parameters.

    Raises:
        ConfigError: A value holds half a surrogate pair.
    """
    if not params:
        return ""
    try:
        return "?" + urlencode(params, quote_via=quote, safe="")
    except UnicodeEncodeError:
        raise _no_utf8() from None


def _check_literal(piece: str) -> None:
    for part in piece.split("/"):
        if not _LITERAL.fullmatch(part) or _ESCAPE.search(part):
            raise ConfigError(
                "A template holds a character that must not stand in a path (a blank, a brace, a "
                "question mark, one beyond ASCII ...). Percent-encode it; what belongs behind the "
                "question mark goes into params=."
            )


def _text_of(name: str, value: object) -> str:
    if isinstance(value, bool):
        pass
    elif isinstance(value, (str, UUID)):
        text = str(value)
        if text in {".", ".."}:
            raise ConfigError(
                f"The value for {name} is a dot segment, which a server takes for another path."
            )
        if not text or len(text) > _LONGEST_VALUE:
            raise ConfigError(
                f"The value for {name} has {len(text):,} characters; it must have 1 to "
                f"{_LONGEST_VALUE:,}."
            )
        return text
    elif hasattr(value, "__index__"):  # numpy's integers
        try:
            return _digits(name, value.__index__())
        except TypeError:  # an array of several
            pass
    raise ConfigError(
        f"The value for {name} must be text, a whole number or a UUID, not {type(value).__name__}."
    )


def _digits(name: str, number: int) -> str:
    if not -_LARGEST < number < _LARGEST:
        raise ConfigError(f"The value for {name} is a number of more than 100 digits.")
    return str(number)


def _encoded(segment: str) -> str:
    if segment.isascii() and segment.isalnum():  # most ids; a quarter of what quote takes
        return segment
    try:
        return quote(segment, safe="")
    except UnicodeEncodeError:
        raise _no_utf8() from None


def _param_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise PayloadError(
            f"params: {name} is {value}, which is no number an API can read. Leave it out, or put "
            "in what it stands for."
        )
    if isinstance(value, (str, UUID)):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if hasattr(value, "__index__"):  # numpy's integers too
        return _digits(name, value.__index__())
    raise ConfigError(
        f"params: {name} must be text, a number, True or False, a UUID, or a list of these, not "
        f"{type(value).__name__}."
    )


def _no_utf8() -> ConfigError:
    return ConfigError("A value holds half a surrogate pair, which cannot be sent; clean it first.")
