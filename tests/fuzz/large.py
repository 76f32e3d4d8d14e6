"""Regressions that are too large to keep as files, made by a rule each."""

from __future__ import annotations

_COLUMNS = b",".join(b'"x%d":1' % n for n in range(2_500))

LARGE: dict[str, dict[str, bytes]] = {
    "signature": {
        # names of required columns were searched from the start for each column: 0.6 s
        "many-required-columns": b'{"paths":{"/invocations":{"post":{"requestBody":{"content":'
        b'{"application/json":{"schema":{"properties":{"dataframe_records":{"items":{"required":['
        + b'"a",' * 40_000
        + b'"a"],"properties":{'
        + _COLUMNS
        + b"}}}}}}}}}}}}",
    },
}
"""By parser and name."""
