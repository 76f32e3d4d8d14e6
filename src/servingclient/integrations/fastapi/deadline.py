"""The time that a caller gives a request, from its header lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

SECONDS: Final = "x-request-timeout"
"""Seconds, such as ``2.5``. No standard names such a header; this is the name in common use."""
ENVOY_MS: Final = "x-envoy-expected-rq-timeout-ms"
"""Milliseconds, whole; Envoy and meshes made of it (Istio) write it:
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"""

_UNITS_S: Final = {SECONDS.encode(): 1.0, ENVOY_MS.encode(): 0.001}
_NUMBER: Final = re.compile(rb"\d{1,9}(?:\.\d{1,9})?")


class UnreadableTime(ValueError):  # noqa: N818 - says what happened
    """A header holds no time. The message says which, and what it should be."""


def given_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Seconds that the caller waits; where several lines say so, the fewest; None where none does.

    Raises:
        UnreadableTime: A line holds something else.
    """
    found: float | None = None
    for name, value in headers:
        unit_s = _UNITS_S.get(name)
        if unit_s is None:
            continue
        if not _NUMBER.fullmatch(value.strip()):
            kind = "seconds, such as 2.5" if unit_s == 1.0 else "milliseconds, such as 2500"
            raise UnreadableTime(f"{name.decode()} must be a number of {kind}.")
        seconds = float(value) * unit_s
        found = seconds if found is None else min(found, seconds)
    return found
