"""All settings of a client, and what the environment may set of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from servingclient.errors import ConfigError
from servingclient.settings.batching import Batching
from servingclient.settings.bulk import Bulk
from servingclient.settings.checks import changed, names_checked, number, switch, text, whole
from servingclient.settings.concurrency import Concurrency, Priority, check_priority
from servingclient.settings.hedge import Hedge
from servingclient.settings.payload import Payload
from servingclient.settings.pool import Pool, Queue
from servingclient.settings.retry import Retry
from servingclient.settings.tls import Tls
from servingclient.settings.token import Token

T = TypeVar("T")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a client."""

    timeout_s: float = 30.0
    """The whole call: queue, token, attempts, backoff. The service's own execution limit is
    documented as 120, 297 or 597 s, so it is a setting and no constant."""
    describe: bool = True
    """Read the endpoint's description before the first call: it tells a route-optimized endpoint,
    its own host and its size limit. False calls the standard way without asking."""
    idempotent: bool = True
    """Whether running a request twice does no harm. Models and feature look-ups compute, so yes;
    say False for agents with side effects."""
    retry: Retry = field(default_factory=Retry)
    """Retries and their quota."""
    pool: Pool = field(default_factory=Pool)
    """Connections."""
    queue: Queue = field(default_factory=Queue)
    """Waiting calls."""
    concurrency: Concurrency = field(default_factory=Concurrency)
    """How many calls run at once."""
    batching: Batching | None = None
    """Send rows of several callers in one request; off. The model must treat rows independently."""
    bulk: Bulk = field(default_factory=Bulk)
    """How ``map`` cuts a large input into requests."""
    hedge: Hedge | None = None
    """Ask a second time when a reply is late, and take the first answer; off."""
    priority: Priority = "default"
    """Who goes first when calls wait: ``"critical"``, ``"default"`` or ``"batch"``."""
    token: Token = field(default_factory=Token)
    """Tokens and endpoint descriptions."""
    payload: Payload = field(default_factory=Payload)
    """Encoding of inputs."""
    tls: Tls = field(default_factory=Tls)
    """Certificates."""
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    """URL of an HTTP proxy. Selects httpx's own transport; the environment is never read."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may hold keys
    """Headers added to every request to the endpoint."""
    trusted_hosts: tuple[str, ...] = ()
    """Names of hosts beside Databricks' own, on any port, that may receive the credential when the
    service names them (private links, gateways). The host you give yourself needs no entry."""
    close_timeout_s: float = 5.0
    """How long ``close()`` waits for running calls before it ends them."""
    stage_threads: int = 32
    """Threads in which an async client runs ``preprocess``, ``enrich`` and ``postprocess`` where
    these are no ``async`` functions. Python's own default is at most as many; more calls wait."""

    def __post_init__(self) -> None:
        number(self, "timeout_s", above=True)
        number(self, "close_timeout_s")
        whole(self, "stage_threads")
        switch(self, "describe", "idempotent")
        text(self, "proxy")
        check_priority(self.priority)
        for name, kind in _GROUPS.items():
            value = getattr(self, name)
            if not (isinstance(value, kind) or (value is None and name in _OPTIONAL)):
                raise ConfigError(
                    f"Settings.{name} must be a {kind.__name__}(...), not {type(value).__name__}."
                )
        object.__setattr__(self, "headers", _pairs(self.headers))
        object.__setattr__(self, "trusted_hosts", _names(self.trusted_hosts))

    def replace(self, **changes: Any) -> Settings:
        """A copy with some settings changed.

        Raises:
            ConfigError: A name is no setting (the message gives the nearest), or a value is wrong.
        """
        return changed(self, changes)

    @classmethod
    def llm(cls) -> Settings:
        """For agents and language models: long replies, effects that may not be repeated."""
        return cls(timeout_s=300.0, idempotent=False)

    @classmethod
    def batch(cls) -> Settings:
        """For jobs without a waiting user: a long deadline and longer backoff."""
        return cls(timeout_s=900.0, retry=Retry(backoff_cap_s=20.0))

    @classmethod
    def from_env(cls, base: Settings | None = None) -> Settings:
        """``base`` with what the environment sets. A client made without settings starts so.

        Read are ``SERVINGCLIENT_TIMEOUT_S``, ``_MAX_ATTEMPTS``, ``_MAX_LANES``, ``_CA_FILE``,
        ``_PROXY`` and ``_TRUSTED_HOSTS`` (comma-separated); no other variable changes a setting.

        Args:
            base: Settings to start from, such as ``Settings.llm()``; the defaults if None.

        Raises:
            ConfigError: A variable does not hold what it should.
        """
        made = cls() if base is None else base
        env = {name: value for name in _ENV if (value := os.environ.get(f"SERVINGCLIENT_{name}"))}
        if not env:
            return made
        hosts = env.get("TRUSTED_HOSTS")
        retry, pool, tls = made.retry, made.pool, made.tls
        attempts = _parsed(env, "MAX_ATTEMPTS", int, retry.max_attempts)
        return made.replace(
            timeout_s=_parsed(env, "TIMEOUT_S", float, made.timeout_s),
            retry=replace(retry, max_attempts=attempts),
            pool=replace(pool, max_lanes=_parsed(env, "MAX_LANES", int, pool.max_lanes)),
            tls=replace(tls, ca_file=env.get("CA_FILE", tls.ca_file)),
            proxy=env.get("PROXY", made.proxy),
            trusted_hosts=(
                tuple(host.strip() for host in hosts.split(",") if host.strip())
                if hosts
                else made.trusted_hosts
            ),
        )


_GROUPS: Mapping[str, type] = {
    "retry": Retry,
    "pool": Pool,
    "queue": Queue,
    "concurrency": Concurrency,
    "batching": Batching,
    "bulk": Bulk,
    "hedge": Hedge,
    "token": Token,
    "payload": Payload,
    "tls": Tls,
}
_OPTIONAL = frozenset({"batching", "hedge"})


def _pairs(headers: object) -> tuple[tuple[str, str], ...]:
    given = headers.items() if isinstance(headers, Mapping) else headers
    pairs = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    for pair in pairs:
        if not (
            isinstance(pair, (tuple, list))
            and len(pair) == 2
            and all(isinstance(part, str) for part in pair)
        ):
            raise ConfigError(
                "headers must be a dict, or pairs, of names and values that are text."
            )
    return tuple((name, value) for name, value in pairs)


def _names(hosts: object) -> tuple[str, ...]:
    if isinstance(hosts, str):
        raise ConfigError("Settings.trusted_hosts is a tuple of host names, not one string.")
    names = tuple(hosts) if isinstance(hosts, Iterable) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError("Settings.trusted_hosts must be a tuple of host names that are text.")
    return names


_ENV = ("TIMEOUT_S", "MAX_ATTEMPTS", "MAX_LANES", "CA_FILE", "PROXY", "TRUSTED_HOSTS")


def _parsed(env: Mapping[str, str], name: str, kind: type[T], default: T) -> T:
    text = env.get(name)
    if text is None:
        return default
    try:
        return kind(text)  # type: ignore[call-arg]
    except ValueError:
        raise ConfigError(
            f"SERVINGCLIENT_{name} is {text!r}, which is no {kind.__name__}."
        ) from None
