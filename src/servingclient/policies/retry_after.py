"""How long a server asks to be left alone, read strictly.

``int()`` takes ``1_000``, ``+5`` and Arabic digits, ``float()`` takes ``nan`` and ``inf``, and a
sleep of either never ends; databricks-sdk slept 3,600 s inside a budget of 300 s. So the header is
matched, not converted on trust. What is read:

* ASCII digits, with a decimal fraction if there is one. RFC 9110 has whole seconds only, but
  gateways send ``1.5`` and what it asks for is plain.
* An IMF-fixdate (``Fri, 29 Sep 2023 16:26:57 GMT``) against the ``Date`` of the same reply, so the
  clock of this machine does not matter. Without a ``Date`` it says nothing.

Anything else, and anything that asks for no wait at all, means: use your own backoff. A negative or
unreadable hint is no refusal, as with AWS and unlike gRPC A6.

Sources: RFC 9110 sections 5.6.7 and 10.2.3.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final, NamedTuple

LONGEST_S: Final = 1e9
"""Stands for every longer wait (31 years): a hint is always a finite number."""


class Hint(NamedTuple):
    """What the server asked for.

    Attributes:
        wait_s: Seconds asked for, above 0; None without a usable hint.
        refuse: The wait is longer than the cap: fail now and report it.
    """

    wait_s: float | None
    refuse: bool


NO_HINT: Final = Hint(None, refuse=False)

_SECONDS: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r" ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MOST_DIGITS: Final = 10  # what LONGEST_S has; more digits need no arithmetic


def parse_retry_after(value: str | None, *, reply_date: str | None, cap_s: float) -> Hint:
    """Read a Retry-After header.

    Args:
        value: The header's value; None when the reply has none.
        reply_date: The ``Date`` header of the same reply.
        cap_s: Longest wait that is honoured, in seconds.
    """
    if value is None:
        return NO_HINT
    text = value.strip(" \t")  # the blanks HTTP allows; strip() alone takes Unicode's
    asked_s = _seconds(text)
    if asked_s is None:
        asked_s = _until(text, reply_date)
    return hint_of(asked_s, cap_s=cap_s)


def hint_of(asked_s: float | None, *, cap_s: float) -> Hint:
    """The hint for a number of seconds (foundation models send one in the body)."""
    if asked_s is None or not asked_s > 0.0:  # "not above" also catches NaN
        return NO_HINT
    return Hint(float(min(asked_s, LONGEST_S)), refuse=asked_s > cap_s)


def _seconds(text: str) -> float | None:
    found = _SECONDS.fullmatch(text)
    if found is None:
        return None
    whole = found[1].lstrip("0")
    if len(whole) >= _MOST_DIGITS:
        return LONGEST_S
    return float(f"{whole or '0'}.{(found[2] or '0')[:9]}")


def _until(text: str, reply_date: str | None) -> float | None:
    then, now = instant(text), instant(reply_date or "")
    return None if then is None or now is None else (then - now).total_seconds()


def instant(text: str) -> datetime | None:
    """What an IMF-fixdate says; None for anything else."""
    found = _DATE.fullmatch(text.strip(" \t"))
    if found is None:
        return None
    day, month, year, hour, minute, second = found.groups()
    try:
        return datetime(
            int(year),
            _MONTHS.index(month) // 3 + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=timezone.utc,
        )
    except ValueError:  # 31 Feb, 25:00, year 0, a leap second
        return None
