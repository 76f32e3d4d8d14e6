"""What an API's reply says about keeping it: RFC 9111, RFC 5861. Pure.

Read strictly: what is malformed is taken for "already stale" (RFC 9111 section 4.2.1), and nothing
here makes an answer live longer than the client's own settings say.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from servingclient._types import RawHeaders

_DIRECTIVE: Final = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\";]*)))?[ \t]*(?:,|$)"
)
_TELLING: Final = frozenset({b"cache-control", b"expires", b"vary", b"etag"})
_READ: Final = _TELLING | {b"age", b"date"}
_STRICT: Final = frozenset({"must-revalidate", "proxy-revalidate", "no-cache"})
_SECONDS: Final = re.compile(r"[0-9]+")
_LONGEST_S: Final = 2.0**31
"""What any larger number means: RFC 9111 section 1.2.2."""
_ETAG: Final = re.compile(r"(?:W/)?\"[\x21\x23-\x7e]{0,254}\"")


class Said(NamedTuple):
    """What a reply says about keeping it.

    Attributes:
        store: It may be kept at all.
        share: It may be kept where other processes find it.
        fresh_s: Seconds for which it is fresh from now on; None where it does not say.
        revalidate_s: Seconds beyond for which it may be given out while it is fetched anew; None
            where it does not say.
        on_error_s: Seconds beyond for which it may be given out when it cannot be had; None
            where it does not say.
        etag: Its validator, or None.
    """

    store: bool = True
    share: bool = True
    fresh_s: float | None = None
    revalidate_s: float | None = None
    on_error_s: float | None = None
    etag: str | None = None


NOTHING_SAID: Final = Said()


def said(headers: RawHeaders) -> Said:
    """Read ``Cache-Control``, ``Expires`` against ``Date``, ``Age``, ``Vary`` and ``ETag``."""
    lines = _lines(headers)
    if not lines.keys() & _TELLING:
        return NOTHING_SAID
    directives = _directives(lines.get(b"cache-control", ""))
    age_s = _seconds(lines.get(b"age", "")) or 0.0
    etag = lines.get(b"etag", "")
    fresh_s = _lifetime(lines, directives)
    if fresh_s is not None:
        fresh_s = max(0.0, fresh_s - age_s)
    revalidate_s = _given(directives, "stale-while-revalidate")
    on_error_s = _given(directives, "stale-if-error")
    if _STRICT & directives.keys():
        # Section 5.2.2.2: once stale it must not be used unchecked. RFC 5861 lets stale-if-error
        # stand beside must-revalidate without saying who wins: the stricter does.
        revalidate_s = on_error_s = 0.0
    return Said(
        store="no-store" not in directives and lines.get(b"vary", "").strip() != "*",
        share="private" not in directives,
        fresh_s=0.0 if "no-cache" in directives else fresh_s,
        revalidate_s=revalidate_s,
        on_error_s=on_error_s,
        etag=etag if is_etag(etag) else None,
    )


def is_etag(text: str) -> bool:
    """Whether a text can be sent as a validator."""
    return _ETAG.fullmatch(text) is not None


def _lines(headers: RawHeaders) -> dict[bytes, str]:
    """The lines that matter here, repeats joined."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _READ:
            text = value.decode("latin-1")
            found[lower] = f"{found[lower]}, {text}" if lower in found else text
    return found


def _lifetime(lines: dict[bytes, str], directives: dict[str, str | None]) -> float | None:
    # s-maxage is meant for caches that many share; of the two the shorter is right for both kinds.
    told = [_given(directives, name) for name in ("s-maxage", "max-age")]
    known = [seconds for seconds in told if seconds is not None]
    if known:
        return min(known)
    if b"expires" not in lines:
        return None
    until, now = _instant(lines[b"expires"]), _instant(lines.get(b"date", ""))
    if until is None or now is None:
        return 0.0
    return max(0.0, (until - now).total_seconds())


def _given(directives: dict[str, str | None], name: str) -> float | None:
    """Seconds of a directive; 0 where it is there and malformed."""
    if name not in directives:
        return None
    return _seconds(directives[name] or "") or 0.0


def _directives(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = _DIRECTIVE.match(text, position)
        if match is None:  # rubbish: go on behind the next comma
            comma = text.find(",", position)
            position = len(text) if comma < 0 else comma + 1
            continue
        position = match.end()
        name, value = match[1].lower(), match[2] if match[2] is not None else match[3]
        if name not in found:
            found[name] = value
        elif found[name] != value:
            found[name] = ""  # said twice and differently: malformed
    return found


def _seconds(text: str) -> float | None:
    return min(float(text), _LONGEST_S) if _SECONDS.fullmatch(text) else None


def _instant(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)
