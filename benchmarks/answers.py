"""What the benchmark's server answers, and when."""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

PREDICTIONS = b'{"predictions":[[0.26894142137,0.73105857863]]}'
assert len(PREDICTIONS) == 47  # the size all reference figures were taken with

SCORED_HEADERS = (
    ("Content-Type", "application/json"),
    ("Date", "Mon, 02 Jun 2025 10:00:00 GMT"),
    ("Server", "databricks"),
    ("Vary", "Accept-Encoding"),
    ("Cache-Control", "no-store"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Request-Id", "5b9f6a0e-6f0a-4f4e-9d3a-0c6f2f3d9a11"),
    ("X-Databricks-Org-Id", "1234567890123456"),
    ("Served-Model-Name", "model-1"),
    ("Connection", "keep-alive"),
)


def reply(status: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


SCORED = reply("200 OK", PREDICTIONS, SCORED_HEADERS)
COMPLETION = orjson.dumps(
    {
        "id": "chatcmpl-5b9f6a0e",
        "object": "chat.completion",
        "created": 1748858400,
        "model": "assistant-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It opens at nine."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18},
    }
)
CHATTED = reply("200 OK", COMPLETION, SCORED_HEADERS)
JSON_TYPE = (("Content-Type", "application/json"),)
NOT_FOUND = reply(
    "404 Not Found",
    b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"not part of this benchmark"}',
    JSON_TYPE,
)
LENGTH_REQUIRED = reply("411 Length Required", b"")
SCORING = (b"/invocations", b"/chat/completions")
"""How the paths end that are asked for predictions; the second is the OpenAI client's."""
COUNT_LINE = b"GET /benchmark/invocations"
"""Asks how many predictions were requested so far: what hedges and retries cost an endpoint."""


def control_plane(host: str, slots: int) -> dict[bytes, bytes]:
    """What clients ask for beside predictions, by request line without the version."""
    pages: dict[str, Any] = {
        "GET /.well-known/databricks-config": {
            "oidc_endpoint": f"{host}/oidc",
            "workspace_id": "1234567890123456",
        },
        "GET /oidc/.well-known/oauth-authorization-server": {
            "issuer": f"{host}/oidc",
            "authorization_endpoint": f"{host}/oidc/v1/authorize",
            "token_endpoint": f"{host}/oidc/v1/token",
        },
        "POST /oidc/v1/token": {
            "access_token": "benchmark-token",
            "token_type": "Bearer",
            "expires_in": 3600,
        },
    }
    if slots:  # elsewhere the endpoint tells nothing, and clients keep to their own limits
        pages["GET /api/2.0/serving-endpoints/fraud-model"] = {
            "name": "fraud-model",
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "config": {
                "served_entities": [
                    {
                        "name": "model-1",
                        "min_provisioned_concurrency": slots,
                        "max_provisioned_concurrency": slots,
                    }
                ]
            },
        }
    return {line.encode(): json_reply(page) for line, page in pages.items()}


def json_reply(page: Any) -> bytes:
    return reply("200 OK", json.dumps(page).encode(), JSON_TYPE)


class Answer(NamedTuple):
    """A whole reply, and the instant at which it is ready (the past: at once)."""

    reply: bytes
    due_s: float


class Model(Protocol):
    def answer(self, request: bytes, body_at: int, end: int, now_s: float) -> Answer:
        """Answer the request whose body lies between the two places."""


@dataclass(frozen=True)
class Fixed:
    """Always the same reply, whatever was sent; nothing is parsed, so nothing is faster."""

    delay_s: float = 0.0
    reply: bytes = SCORED

    def answer(self, request: bytes, body_at: int, end: int, now_s: float) -> Answer:
        return Answer(self.reply, now_s + self.delay_s if self.delay_s else 0.0)


class Times:
    """When a model is done with a request: plain arithmetic, so no sleeping adds to it.

    A request takes ``request_s`` and ``row_s`` per row, from the instant it came or, where all
    ``slots`` are taken, from when one is free. First come, first served.

    Args:
        request_s: Time a request takes, however many rows it holds.
        row_s: Time each of its rows adds.
        slots: Requests worked on at a time; 0 for any number.
        slow_share: Share of requests, chosen by a fixed seed, that take ``slow_s`` more.
        slow_s: See there.
    """

    def __init__(
        self, request_s: float, row_s: float, slots: int, slow_share: float, slow_s: float
    ) -> None:
        self._request_s = request_s
        self._row_s = row_s
        self._slow_share = slow_share
        self._slow_s = slow_s
        self._free_at_s = [0.0] * slots
        self._chance = random.Random(1)

    def done_s(self, now_s: float, rows: int) -> float:
        takes_s = self._request_s + self._row_s * rows
        if self._slow_share and self._chance.random() < self._slow_share:
            takes_s += self._slow_s
        if not self._free_at_s:
            return now_s + takes_s
        done_s = max(now_s, self._free_at_s[0]) + takes_s
        heapq.heapreplace(self._free_at_s, done_s)
        return done_s


@dataclass(frozen=True)
class Echo:
    """Answers each row with its first value, so that a mixed-up reply can not go unnoticed.

    Attributes:
        times: When the model is done.
        overhead_s: Time of the way there and back, which takes no slot.
    """

    times: Times
    overhead_s: float = 0.0

    def answer(self, request: bytes, body_at: int, end: int, now_s: float) -> Answer:
        values = first_values(orjson.loads(memoryview(request)[body_at:end]))
        body = orjson.dumps({"predictions": [[value] for value in values]})
        done_s = self.times.done_s(now_s, len(values)) + self.overhead_s
        return Answer(reply("200 OK", body, SCORED_HEADERS), done_s)


def first_values(body: dict[str, Any]) -> list[Any]:
    """The first value of each row, in the two forms the contenders send."""
    if (split := body.get("dataframe_split")) is not None:
        return [row[0] for row in split["data"]]
    return [next(iter(row.values())) for row in body["dataframe_records"]]


@dataclass(frozen=True)
class Count:
    """The same for rows numbered one after the other: the first is read, the others are counted.

    To parse thousands of rows costs a server more than it costs a client to write them.
    """

    times: Times

    def answer(self, request: bytes, body_at: int, end: int, now_s: float) -> Answer:
        data_at = request.index(b'"data":', body_at) + 7
        first_at = request.index(b"[", request.index(b"[", data_at) + 1) + 1
        first = int(float(request[first_at : request.index(b",", first_at)]))
        rows = request.count(b"[", first_at, request.index(b"]]", first_at)) + 1
        body = orjson.dumps({"predictions": list(range(first, first + rows))})
        return Answer(reply("200 OK", body, SCORED_HEADERS), self.times.done_s(now_s, rows))
