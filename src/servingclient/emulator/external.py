"""An API that is not Databricks: users by id, as a service asks for them before it scores rows.

It is what enrichment is tested against: slow, limited, failing, down for a while, with validators.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from servingclient.emulator import json_text
from servingclient.emulator.external_limit import LIMIT_HEADERS, LimitHeaders, Window, headers
from servingclient.emulator.fault import FaultQueue
from servingclient.emulator.wire import Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servingclient.emulator.fault import Fault
    from servingclient.emulator.journal import Journal, RequestRecord
    from servingclient.emulator.wire import HostName, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSettings:
    """Behaviour of the external API; change it live with ``emulator.external.change(...)``."""

    users: int = 10_000
    """Users 1 to this exist; 404 for any other."""
    value_bytes: int = 0
    """Pads each user to about this size."""
    latency_s: float = 0.0
    """Wait before each answer."""
    latency_jitter_s: float = 0.0
    """Up to this much is added at random, from a seed."""
    error_rate: float = 0.0
    """Share of requests that fail at random, from a seed."""
    error_status: int = 500
    """Status of those, and of all while it is down."""
    limit_calls: int | None = None
    """Requests in a window; one more gets 429. ``None`` means no limit."""
    limit_window_s: float = 1.0
    """Length of the window."""
    limit_headers: LimitHeaders = "retry_after"
    """How the limit is told, each in its own way and no other: ``retry_after`` with a 429 alone;
    on every reply ``ietf`` (``RateLimit: "default";r=…;t=…``), ``ietf_07`` (``limit=…,
    remaining=…``), ``ietf_03`` (three headers), ``x_seconds`` and ``x_epoch`` (``X-RateLimit-*``),
    ``x_rate_epoch`` (``X-Rate-Limit-*``); or ``none``."""
    max_ids: int = 100
    """Ids in one request of many; more get 400."""
    etag: bool = True
    """Send ``ETag``, and 304 to who has it."""
    cache_control: str | None = None
    """``Cache-Control`` of every user that is found."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: when one makes no sense.
        """
        if self.limit_headers not in LIMIT_HEADERS:
            known = ", ".join(LIMIT_HEADERS)
            raise ValueError(f"limit_headers={self.limit_headers!r}: known are {known}")
        if not 0.0 <= self.error_rate <= 1.0:
            raise ValueError(f"error_rate={self.error_rate}: a share from 0 to 1")
        for name in _NOT_BELOW_0:
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: not below 0")


_NOT_BELOW_0 = (
    "users",
    "value_bytes",
    "latency_s",
    "latency_jitter_s",
    "limit_calls",
    "limit_window_s",
    "max_ids",
)


class ExternalApi:
    """The external API of an emulator, as its user holds it: ``emulator.external``.

    ``GET /users/7`` is one user, ``GET /users?ids=1,2,3`` and ``POST /lookup`` with
    ``{"ids": [1, 2, 3]}`` are lists of those there are.

    Args:
        seed: of latency and errors.
        urls: filled when the emulator starts.
        journal: where requests are recorded.
    """

    def __init__(self, seed: int, urls: Mapping[HostName, str], journal: Journal) -> None:
        self.settings: ExternalSettings = ExternalSettings()
        self.faults: FaultQueue = FaultQueue()
        self._rng = random.Random(seed)  # noqa: S311 - simulation
        self._urls = urls
        self._journal = journal
        self._window = Window()
        self._down_until_s = -math.inf
        self._versions: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    # --- for its user

    @property
    def base_url(self) -> str:
        """Where it is: https with the emulator's own authority, or plain http without TLS.

        Raises:
            RuntimeError: The emulator is not started.
        """
        try:
            return self._urls["external"]
        except KeyError:
            raise RuntimeError(
                "the emulator is not started: use `with Emulator() as emu`"
            ) from None

    def change(self, **changes: Any) -> None:
        """Change fields of the settings from now on."""
        self.settings = replace(self.settings, **changes)

    def go_down(self, for_s: float = math.inf) -> None:
        """Answer every request with ``error_status``, for some time or until ``come_back``."""
        self._down_until_s = time.monotonic() + for_s

    def come_back(self) -> None:
        """End it."""
        self._down_until_s = -math.inf

    def touch(self, *ids: object) -> None:
        """Change users: a new version, and so a new ``ETag``."""
        for one in ids:
            self._versions[str(one)] += 1

    def script(self, *faults: Fault) -> None:
        """Apply one fault to each of the next requests."""
        self.faults.script(faults)

    def always(self, fault: Fault | None) -> None:
        """Apply a fault to every request that has no scripted one; ``None`` ends it."""
        self.faults.stand(fault)

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request it got, in order."""
        return [record for record in self._journal.snapshot() if record.kind == "external"]

    @property
    def counts(self) -> Counter[str]:
        """How often each id was asked for, alone or among others, whatever the answer was."""
        return self._counts.copy()

    def forget(self) -> None:
        """Forget counts and scripts; users and settings stay."""
        self.faults.clear()
        self._counts.clear()

    # --- for the connection

    def note(self, request: Request) -> int:
        """Count the ids a request asks for, and return how many they are."""
        ids = _ids(request) or []
        self._counts.update(ids)
        return len(ids)

    def delay_s(self) -> float:
        """Return how long the next answer takes."""
        settings = self.settings
        return settings.latency_s + self._rng.random() * settings.latency_jitter_s

    def answer(self, request: Request, now_s: float, wall_s: float) -> Reply:
        """Return the reply to a request.

        Args:
            request: It.
            now_s: The monotonic clock.
            wall_s: The time of day, in seconds since 1970.
        """
        settings = self.settings
        if now_s < self._down_until_s or self._rng.random() < settings.error_rate:
            return json_reply(settings.error_status, {"error": "the service is not available"})
        if settings.limit_calls is None:
            return self._found(request)
        limit, window_s = settings.limit_calls, settings.limit_window_s
        standing = self._window.take(limit, window_s, now_s)
        reply = (
            json_reply(429, {"error": "too many requests"})
            if standing.refused
            else self._found(request)
        )
        return reply.with_headers(
            *headers(settings.limit_headers, limit, window_s, standing, wall_s)
        )

    def _found(self, request: Request) -> Reply:
        ids = _ids(request)
        if ids is None:
            return json_reply(404, {"error": f"nothing at {request.method} {request.path}"})
        if len(ids) > self.settings.max_ids:
            return json_reply(400, {"error": f"at most {self.settings.max_ids} ids at once"})
        users = [self._user(one, request) for one in ids if self._exists(one)]
        if _is_one(request):
            if not users:
                return json_reply(404, {"error": "no such user"})
            return self._labelled(request, users[0])
        return self._labelled(request, users)

    def _exists(self, one: str) -> bool:
        return one.isascii() and one.isdigit() and 1 <= int(one) <= self.settings.users

    def _user(self, one: str, request: Request) -> dict[str, object]:
        number = int(one)
        user: dict[str, object] = {
            "id": number,
            "name": f"user {number}",
            "score": number * 37 % 1000 / 1000,
            "version": self._versions.get(one, 0),
            "seen_by": _principal(request),
        }
        if self.settings.value_bytes:
            user["pad"] = "x" * self.settings.value_bytes
        return user

    def _labelled(self, request: Request, value: dict[str, object] | Sequence[object]) -> Reply:
        """A good answer with its validators, or 304 to who has it already."""
        body = json_text.dumps(value)
        lines: list[tuple[str, str]] = []
        if self.settings.cache_control is not None:
            lines.append(("cache-control", self.settings.cache_control))
        if self.settings.etag:
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            lines.append(("etag", tag))
            known = request.headers.get("if-none-match", "")
            if request.method == "GET" and tag in known.split(", "):
                return Reply(304, b"", None, tuple(lines))
        return Reply(200, body, headers=tuple(lines))


def _is_one(request: Request) -> bool:
    return request.method == "GET" and request.path.startswith("/users/")


def _ids(request: Request) -> list[str] | None:
    """Return the ids a request asks for; ``None`` when it asks for something else."""
    path = request.path
    if _is_one(request):
        one = path[len("/users/") :]
        return None if "/" in one else [unquote(one)]
    if request.method == "GET" and path == "/users":
        given = parse_qs(request.target.partition("?")[2]).get("ids", [])
        return [one for text in given for one in text.split(",")]
    if request.method == "POST" and path == "/lookup":
        try:
            return [str(one) for one in json_text.loads(request.body)["ids"]]
        except (ValueError, KeyError, TypeError):
            return None
    return None


def _principal(request: Request) -> str | None:
    """Return a short hash of the caller's credential: two callers must not see each other's."""
    given = request.headers.get("authorization") or request.headers.get("x-api-key")
    return hashlib.sha256(given.encode()).hexdigest()[:8] if given else None
