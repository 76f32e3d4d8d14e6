"""The 429 family: which limit was hit, in the exact texts of the service."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Literal

from servingclient.emulator.wire import Reply, error, json_reply

_PARALLEL = (
    "Exceeded max number of parallel requests. Please contact your Databricks representative to "
    "increase the limit"
)
_CONCURRENT = (
    "Too many concurrent requests. Consider increasing the provisioned concurrency of the "
    "served entity."
)
_TEXTS = {
    "endpoint": ("REQUEST_LIMIT_EXCEEDED", _CONCURRENT),
    "workspace_parallel": ("REQUEST_LIMIT_EXCEEDED", _PARALLEL),
    "workspace_qps": ("REQUEST_LIMIT_EXCEEDED", "Exceeded workspace QPS rate limit for {name}"),
    "ai_gateway": (
        "REQUEST_LIMIT_EXCEEDED",
        (
            "User defined rate limit(s) exceeded for '{name}'. "
            "Requests-per-minute (RPM) rate limit exceeded for endpoint"
        ),
    ),
    "control_plane": (
        "REQUEST_LIMIT_EXCEEDED",
        "Workspace 1234567890123456 exceeded the concurrent limit of 60 requests",
    ),
}
ThrottleKind = Literal[
    "endpoint", "workspace_parallel", "workspace_qps", "ai_gateway", "control_plane"
]
ABSURD_S = 86_400 * 365
_DATE_AHEAD_S = 2


def reply(kind: ThrottleKind, name: str) -> Reply:
    """Return a 429 with the text of its kind and without ``Retry-After``."""
    code, text = _TEXTS[kind]
    return error(429, code, text.format(name=name))


def endpoint_name(path: str) -> str:
    """Return the endpoint a path of the workspace or the data plane is about."""
    _, found, rest = path.partition("/serving-endpoints/")
    return rest.partition("/")[0] if found else "unknown"


def foundation_reply(retry_after: float) -> Reply:
    """Return the 429 of foundation models, which hint in the body when to come back."""
    return json_reply(
        429,
        {
            "error": {
                "message": "Rate limit exceeded",
                "type": "rate_limit_exceeded",
                "code": 429,
                "limit_type": "input_tokens_per_minute",
                "limit": 200_000,
                "current": 200_150,
                "retry_after": retry_after,
            }
        },
    )


def retry_after_value(wanted: float | str, clock_skew_s: float) -> str:
    """Return the header's value; ``"date"`` and ``"absurd"`` stand for what they say."""
    if wanted == "date":
        return formatdate(time.time() + clock_skew_s + _DATE_AHEAD_S, usegmt=True)
    return str(ABSURD_S) if wanted == "absurd" else str(wanted)
