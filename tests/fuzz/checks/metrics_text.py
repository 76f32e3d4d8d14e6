"""OpenMetrics text of an endpoint (``telemetry/endpoint_metrics.py``)."""

from __future__ import annotations

import dataclasses
import math

from servingclient.telemetry.endpoint_metrics import (
    Distribution,
    figures_in,
    parser,
    why_no_text,
)

_PARSE = parser()
_SHARES = (0.5, 0.99)


def check(data: bytes) -> None:
    why_no_text(200, data)
    text = data.decode("utf-8", "replace")
    found = figures_in(text, _PARSE)
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if isinstance(value, Distribution):
            _check(value)
        elif isinstance(value, float):
            assert 0.0 <= value < math.inf
    assert found.qps is None or found.qps >= 0.0
    assert found.error_rate is None or found.error_rate >= 0.0
    assert (found.why_none is None) or not found.samples or found.requests is None
    assert found.samples + found.skipped <= 2 * len(text.splitlines())


def _check(found: Distribution) -> None:
    assert list(found.bounds_s) == sorted(set(found.bounds_s))
    assert list(found.counts) == sorted(found.counts)
    quantiles = [found.quantile_s(share) for share in _SHARES]
    assert all(one is None or 0.0 <= one < math.inf for one in quantiles)
    assert None in quantiles or quantiles == sorted(quantiles)  # type: ignore[type-var]
