"""Headers that tell how long an answer is good (``enrichment/cache_control.py``)."""

from __future__ import annotations

import math

from servingclient.enrichment.cache_control import is_etag, said
from servingclient.transport.exchange import is_header_value
from tests.fuzz.checks.header_lines import lines


def check(data: bytes) -> None:
    found = said(lines(data))
    for seconds in (found.fresh_s, found.revalidate_s, found.on_error_s):
        assert seconds is None or 0.0 <= seconds < math.inf
    if found.etag is not None:
        assert is_etag(found.etag)
        assert is_header_value(found.etag), "it is sent back in If-None-Match"
