"""JSON for the emulator: orjson where it is installed, the standard library for the rest.

The reference server reads and writes with the standard library, which knows the bare words ``NaN``
and ``Infinity``; orjson does not. So orjson is only ever the fast first try.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_fast_loads: Callable[[bytes], Any] | None
_fast_dumps: Callable[[Any], bytes] | None
try:
    import orjson
except ImportError:
    _fast_loads = _fast_dumps = None
else:
    _fast_loads, _fast_dumps = orjson.loads, orjson.dumps


def loads(text: bytes) -> Any:
    """Parse JSON, bare ``NaN`` included.

    Raises:
        ValueError: when the text is no JSON or no UTF-8, with the standard library's own words.
        RecursionError: when it is nested too deeply.
    """
    if _fast_loads is not None:
        try:
            return _fast_loads(text)
        except ValueError:
            pass  # the standard library decides, and words the error
    return json.loads(text)


def dumps(value: object) -> bytes:
    """Write JSON for values that are known to hold no NaN or Infinity."""
    if _fast_dumps is not None:
        return _fast_dumps(value)
    return json.dumps(value, separators=(",", ":")).encode()
