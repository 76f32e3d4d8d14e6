"""Bodies of error replies (``payload/errors_body.py``): one short printable line, no secret."""

from __future__ import annotations

import math

from servingclient.payload.errors_body import MESSAGE_BYTES, error_detail

_LABELS = (None, "text/html", "application/msgpack")
_SECRET = "hunter2-canary"


def check(data: bytes) -> None:
    for label in _LABELS:
        detail = error_detail(data, label, (_SECRET,))
        said = [detail.message, *([] if detail.code is None else [detail.code])]
        for words in said:
            assert words.isprintable()
            assert len(words.encode()) <= MESSAGE_BYTES
            assert _SECRET not in words
        assert detail.code != ""
        wait_s = detail.retry_after_s
        assert wait_s is None or 0.0 <= wait_s < math.inf
