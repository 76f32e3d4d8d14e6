"""What an API says about how much more it will take, read strictly.

Three families of headers are in use, and the habits differ within each:

* ``RateLimit`` and ``RateLimit-Policy``, structured fields, of the IETF's draft from version 7 on:
  ``limit=100, remaining=50, reset=30`` there, ``"default";r=50;t=30`` with ``"default";q=100;w=60``
  since. Hugging Face writes the latter as ``"fixed window";"api";q=500;w=300``.
* ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` of the versions before, the reset in seconds
  from now. A limit may carry policies: ``100, 100;w=60``.
* ``X-RateLimit-*`` (``X-Rate-Limit-*`` at Twitter), which nobody wrote down. The reset is in
  seconds from now, or in seconds or milliseconds since 1970 (GitHub, Twitter).

What cannot be read says nothing; it is never an error.
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from servingclient._types import RawHeaders
from servingclient.policies.retry_after import instant


class Told(NamedTuple):
    """What a reply told of its API's limit; None for what it did not tell.

    Attributes:
        left: Requests it will still take until the reset. Only together with ``reset_s``.
        reset_s: Seconds until then, at least 0.
        limit: Requests it takes in a whole window.
        window_s: Seconds of that window.
    """

    left: int | None = None
    reset_s: float | None = None
    limit: int | None = None
    window_s: float | None = None


NOTHING: Final = Told()

_NAMES: Final = frozenset(
    {b"ratelimit", b"ratelimit-policy", b"date"}
    | {
        family + part
        for family in (b"ratelimit", b"x-ratelimit", b"x-rate-limit")
        for part in (b"-limit", b"-remaining", b"-reset")
    }
)
_LONGEST: Final = 500  # bytes of a header that is looked at
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_MEMBER: Final = re.compile(rf'(?:{_QUOTED}|[^",])+')
_PART: Final = re.compile(rf'(?:{_QUOTED}|[^";])+')
_SINCE_1970_S: Final = 1e9
"""From here on a reset is an instant: as a wait it would be 31 years, as an instant it was 2001."""
_SINCE_1970_MS: Final = 1e11
"""From here on it is in milliseconds: 1973, where seconds would be the year 5138."""


class _Member(NamedTuple):
    """``"name";key=1;other=2``, or of a dictionary ``key=1``."""

    names: tuple[str, ...]
    values: Mapping[str, str]

    def number(self, key: str) -> float | None:
        return _number(self.values.get(key, ""))


def read(headers: RawHeaders, wall_s: float) -> Told:
    """Read the header lines of one reply.

    Args:
        headers: The lines as they arrived.
        wall_s: The time of day, seconds since 1970; the reply's own ``Date`` counts more.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in _NAMES and len(value) <= _LONGEST:
            text = value.decode("latin-1")
            known = key.decode("ascii")
            found[known] = f"{found[known]}, {text}" if known in found else text
    if not found or found.keys() == {"date"}:
        return NOTHING
    for told in _tellings(found, wall_s):
        if told != NOTHING:
            return told
    return NOTHING


def _tellings(found: Mapping[str, str], wall_s: float) -> Iterator[Told]:
    yield _structured(found)
    yield _triple(found, "ratelimit", wall_s)
    yield _triple(found, "x-ratelimit", wall_s)
    yield _triple(found, "x-rate-limit", wall_s)


def _structured(found: Mapping[str, str]) -> Told:
    every = _policies(found.get("ratelimit-policy", ""))
    policies = [one for one in every if _of_requests(one)]
    others = {name for one in every if one not in policies for name in one.names}
    members = _members(found.get("ratelimit", ""))
    whole = _Member((), {key: value for one in members for key, value in one.values.items()})
    if "remaining" in whole.values:
        return _with_policy(
            _told(whole.number("remaining"), whole.number("reset"), whole.number("limit")),
            policies,
        )
    told = [
        _with_policy(_told(one.number("r"), one.number("t"), None), _named(policies, one.names))
        for one in members
        if others.isdisjoint(one.names)
    ]
    known = [one for one in told if one.left is not None]
    if known:
        return min(known, key=_room)
    return _with_policy(NOTHING, policies)


def _room(told: Told) -> tuple[int, float]:
    """Orders several limits: the one that is reached first; of those that are, the longest."""
    assert told.left is not None
    assert told.reset_s is not None
    return told.left, -told.reset_s


def _of_requests(policy: _Member) -> bool:
    """Whether a policy counts requests; there are some of bytes and of concurrency."""
    return policy.values.get("qu", '"requests"').strip('"') == "requests"


def _named(policies: list[_Member], names: tuple[str, ...]) -> list[_Member]:
    return [one for one in policies if not set(one.names).isdisjoint(names)]


def _with_policy(told: Told, policies: list[_Member]) -> Told:
    """Add the limit and the window of the first policy that has both."""
    for policy in policies:
        limit = policy.number("q")
        if limit is None and policy.names:
            limit = _number(policy.names[0])  # until version 7: 100;w=60
        window_s = policy.number("w")
        if limit and window_s:
            return told._replace(limit=int(limit), window_s=window_s)
    return told


def _triple(found: Mapping[str, str], family: str, wall_s: float) -> Told:
    limits = _policies(found.get(f"{family}-limit", ""))
    reset_s = _number(_alone(found.get(f"{family}-reset", "")))
    if reset_s is not None and reset_s >= _SINCE_1970_S:
        instant_s = reset_s / 1000.0 if reset_s >= _SINCE_1970_MS else reset_s
        date = instant(found.get("date", ""))
        reset_s = max(0.0, instant_s - (wall_s if date is None else date.timestamp()))
    limit = _number(limits[0].names[0]) if limits and limits[0].names else None
    told = _told(_number(_alone(found.get(f"{family}-remaining", ""))), reset_s, limit)
    return _with_policy(told, limits)


def _alone(text: str) -> str:
    """The value without parameters; of a list nothing, since it says two things at once."""
    return text.partition(";")[0]


def _told(left: float | None, reset_s: float | None, limit: float | None) -> Told:
    most = int(limit) if limit else None
    if left is None or reset_s is None:
        return Told(limit=most)
    return Told(int(left), reset_s, most)


@lru_cache(maxsize=256)
def _policies(text: str) -> list[_Member]:
    """Members of what is the same in every reply; 10 us otherwise."""
    return _members(text)


def _members(text: str) -> list[_Member]:
    return [_member(one) for one in _MEMBER.findall(text)]


def _member(text: str) -> _Member:
    names: list[str] = []
    values: dict[str, str] = {}
    for part in _PART.findall(text):
        key, is_value, value = part.strip(" \t").partition("=")
        if is_value and not key.startswith('"'):
            values[key] = value
        else:
            names.append(part.strip(" \t"))
    return _Member(tuple(names), values)


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text.strip(" \t"))
    return float(found[0]) if found is not None else None
