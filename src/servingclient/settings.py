"""Every setting: default, unit, reason. A default is written here and nowhere else.

All dataclasses are frozen; ``Settings.replace`` and ``client.with_options`` make changed copies.
A value that cannot work raises :class:`~servingclient.errors.ConfigError` when the object is made.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from servingclient.errors import ConfigError

_T = TypeVar("_T")


def _names_checked(kind: type[_T]) -> type[_T]:
    """Make a wrong name in a call of the dataclass ``kind`` the same error as everywhere else."""
    made = kind.__init__

    @functools.wraps(made)
    def init(self: _T, **given: Any) -> None:
        _check_names(kind, given)
        made(self, **given)

    kind.__init__ = init  # type: ignore[method-assign, assignment]
    return kind


def _check_names(kind: type, given: Iterable[str]) -> None:
    known = {f.name for f in fields(kind)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}."
            raise ConfigError(f"{kind.__name__} has no option {name!r}.{hint}")


def _switch(owner: object, *names: str) -> None:
    """Refuse what is neither True nor False: ``"no"`` would count as yes."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be True or False, not {type(value).__name__}.")


def _text(owner: object, *names: str) -> None:
    """Refuse what is neither text nor None."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not isinstance(value, str):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be text or None, not {type(value).__name__}.")


def _number(owner: object, *names: str, least: float = 0.0, above: bool = False) -> None:
    """Refuse what is no finite number, or lies below (with ``above``: at or below) ``least``."""
    optional = {f.name for f in fields(owner) if f.default is None}  # type: ignore[arg-type]
    for name in names:
        value = getattr(owner, name)
        if value is None and name in optional:
            continue
        shown = f"{type(owner).__name__}.{name}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{shown} must be a number, not {type(value).__name__}.")
        if not math.isfinite(value) or value < least or (above and value == least):
            bound = f"above {least:g}" if above else f"at least {least:g}"
            raise ConfigError(f"{shown} is {value}; it must be finite and {bound}.")


def _whole(owner: object, *names: str, least: int = 1) -> None:
    _number(owner, *names, least=least)
    for name in names:
        value = getattr(owner, name)
        if value is not None and not isinstance(value, int):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be a whole number, not {value!r}.")


def changed(settings: _T, changes: Mapping[str, Any]) -> _T:
    """A copy of the dataclass ``settings`` with ``changes`` applied.

    Raises:
        ConfigError: A name is no field; the message gives the nearest one.
    """
    _check_names(type(settings), changes)
    return replace(settings, **changes)  # type: ignore[type-var]


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is tried again, and after how long."""

    max_attempts: int = 4
    """Tries per call, the first included. AWS, SRE and OpenAI take 3; 429 while an endpoint scales
    up is the normal case here, and the quota, not the count, is what stops a storm."""
    backoff_base_s: float = 0.05
    """Full jitter: wait = random * min(base * 2**n, cap). AWS standard mode, 2026."""
    throttled_base_s: float = 1.0
    """The base after 429 and 503 with Retry-After. AWS standard mode, 2026."""
    backoff_cap_s: float = 8.0
    """Longest backoff; more rarely fits a call's deadline."""
    retry_after_cap_s: float = 60.0
    """Longest Retry-After that is waited for; a longer one fails the call at once and says so."""
    retry_after_window_s: float | None = None
    """With a value w, a server hint h becomes min(max(h, backoff), backoff + w), as AWS does; None
    honours the hint as it is."""
    jitter: float = 1.0
    """Share of the backoff that is random: 1.0 is full jitter, 0.0 none. Full jitter spreads a
    crowd best."""
    retry_after_jitter: float = 0.1
    """Up to this share is added to an honoured hint, so a crowd does not return in one instant."""
    quota_capacity: int = 500
    """Tokens of the retry quota at the start and at most, per client. Success-funded: in simulation
    one quota ends a 10 s brown-out at 90 % load 3 s later than no retries at all would (38 and
    35 s); without a quota it never ends. Eight clients with a full quota each take 60 s, so give
    the clients of a fleet less each."""
    retry_cost: int = 14
    """Tokens a retry takes; the last one's are given back when it succeeds."""
    throttled_cost: int = 5
    """Tokens a retry takes after the service refused the request unprocessed."""
    success_credit: int = 1
    """Tokens a call that succeeds at once puts in."""
    retry_read_timeout: bool = False
    """Send again when no reply came in time. Off: the model may have run, and sending again
    multiplies both the wait and the load."""

    def __post_init__(self) -> None:
        _whole(self, "max_attempts", "quota_capacity")
        _whole(self, "retry_cost", "throttled_cost", "success_credit", least=0)
        _number(self, "backoff_base_s", "throttled_base_s", "backoff_cap_s", "retry_after_cap_s")
        _number(self, "retry_after_window_s", "jitter", "retry_after_jitter")
        if self.jitter > 1.0 or self.retry_after_jitter > 1.0:
            raise ConfigError("Retry.jitter and Retry.retry_after_jitter are shares: at most 1.")
        _switch(self, "retry_read_timeout")

    @classmethod
    def aws_standard_v21(cls) -> Retry:
        """The numbers of the AWS SDKs' standard mode 2.1 (2026)."""
        return cls(
            max_attempts=3, backoff_cap_s=20.0, retry_after_window_s=5.0, retry_after_jitter=0.0
        )

    @classmethod
    def aws_standard_v20(cls) -> Retry:
        """The numbers of the AWS SDKs' standard mode 2.0: every retry costs 5, base 1 s."""
        return cls(
            max_attempts=3,
            backoff_base_s=1.0,
            backoff_cap_s=20.0,
            retry_cost=5,
            retry_after_jitter=0.0,
        )


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections (lanes) to one host."""

    max_lanes: int = 32
    """Most connections to one host; calls beyond that wait in order."""
    prewarm: int = 4
    """Connections that ``warmup()`` opens. A reconnect costs some 40 warm calls."""
    connect_timeout_s: float = 3.0
    """Name look-up, TCP and TLS together: a host that does not answer is known within 5 s."""
    attempt_timeout_s: float | None = None
    """Longest single try; None lets it use what remains of the call. A read time-out is not
    resent by default, so a shorter try would only turn slow answers into errors."""
    stream_idle_s: float = 60.0
    """Longest gap between two pieces of a stream."""
    keepalive_s: float = 45.0
    """Idle time after which a connection is not reused; learned down when a reused one dies, and
    slowly up again while they live. The front ends' idle limits are not documented."""
    keepalive_unsafe_s: float = 5.0
    """The same for calls that must not be resent (``idempotent=False``): for them a connection
    that died unnoticed is an error, not a free resend."""
    max_age_s: float = 300.0
    """Age at which a connection is replaced, +-20 % at random: follows DNS and load balancers
    without a wave of reconnects."""
    max_reply_bytes: int = 64 * 1024 * 1024
    """Largest reply after decoding: 1 MB of gzip can hold 1 GB."""
    max_head_bytes: int = 64 * 1024
    """Largest head of a reply, interim (1xx) replies included."""

    def __post_init__(self) -> None:
        _whole(self, "max_lanes", "max_reply_bytes", "max_head_bytes")
        _whole(self, "prewarm", least=0)
        _number(self, "connect_timeout_s", "attempt_timeout_s", "stream_idle_s", above=True)
        _number(self, "max_age_s", above=True)
        _number(self, "keepalive_s", "keepalive_unsafe_s")


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Calls waiting for a connection: first in, first out."""

    max_calls: int = 1000
    """Most waiting calls; one more gets ``QueueFull`` at once. A gather of hundreds still fits."""

    def __post_init__(self) -> None:
        _whole(self, "max_calls", least=0)


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """OAuth tokens and endpoint descriptions."""

    refresh_ahead_s: float = 1200.0
    """A token is refreshed behind the calls from min(lifetime / 2, this) before its end."""
    refresh_jitter_s: float = 60.0
    """Up to this much earlier at random, so that a fleet does not log in at one instant."""
    margin_s: float = 60.0
    """A token with less than this left is not used, as long as it lived longer than twice this:
    the service refuses tokens with under 30 s left, and the SDK's own 40 s is thin."""
    try_timeout_s: float = 5.0
    """Longest single request to the token endpoint. The SDK has none: one hung login stops all."""
    timeout_s: float = 10.0
    """Longest refresh, with its retries."""
    cooldown_s: float = 1.0
    """Pause after a failed refresh, doubling to ``cooldown_cap_s``."""
    cooldown_cap_s: float = 60.0
    """Longest pause after failed refreshes."""
    endpoint_ttl_s: float = 300.0
    """How long an endpoint's description is trusted; then it is read again behind the calls."""
    reresolve_min_s: float = 60.0
    """Least time between two readings forced by a 404 or a name that no longer resolves."""

    def __post_init__(self) -> None:
        _number(self, "refresh_ahead_s", "refresh_jitter_s", "margin_s", "reresolve_min_s")
        _number(self, "try_timeout_s", "timeout_s", "endpoint_ttl_s", above=True)
        _number(self, "cooldown_s", "cooldown_cap_s", above=True)


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """How inputs become JSON."""

    nan: Literal["raise", "null"] = "raise"
    """NaN, NaT, infinities and missing values: refuse them naming row and column, or send null.
    A silent null is a wrong answer."""
    decimal: Literal["raise", "str", "float"] = "raise"
    """Decimals: refuse, send as text, or send as the nearest double."""
    stringify_columns: bool = False
    """Turn column names that are no strings into strings instead of refusing them."""
    max_request_bytes: int | None = None
    """Largest request; None takes the service's documented limit: 16 MiB, for agents 4 MiB."""

    def __post_init__(self) -> None:
        _whole(self, "max_request_bytes")
        _switch(self, "stringify_columns")
        for name, allowed in (("nan", ("raise", "null")), ("decimal", ("raise", "str", "float"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"Payload.{name} is {getattr(self, name)!r}; choose one of {allowed}."
                )


@_names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS of all connections. Certificates are always verified except as said here."""

    ca_file: str | None = None
    """PEM file with certificate authorities to trust instead of the system's."""
    verify: bool = True
    """False only together with ``allow_insecure``, and then for loopback hosts alone."""
    allow_insecure: bool = False
    """Confirms ``verify=False``."""

    def __post_init__(self) -> None:
        ca_file: object = self.ca_file
        if isinstance(ca_file, os.PathLike):
            object.__setattr__(self, "ca_file", os.fspath(ca_file))
        _text(self, "ca_file")
        _switch(self, "verify", "allow_insecure")
        if not self.verify and not self.allow_insecure:
            raise ConfigError(
                "Tls(verify=False) sends credentials to anyone who answers. For a private "
                "certificate authority pass ca_file=; for a local test server add "
                "allow_insecure=True."
            )


@_names_checked
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

    def __post_init__(self) -> None:
        _number(self, "timeout_s", above=True)
        _number(self, "close_timeout_s")
        _switch(self, "describe", "idempotent")
        _text(self, "proxy")
        for name, kind in _GROUPS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
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
    "token": Token,
    "payload": Payload,
    "tls": Tls,
}


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
                "Settings.headers must be a dict, or pairs, of names and values that are text."
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


def _parsed(env: Mapping[str, str], name: str, kind: type[_T], default: _T) -> _T:
    text = env.get(name)
    if text is None:
        return default
    try:
        return kind(text)  # type: ignore[call-arg]
    except ValueError:
        raise ConfigError(
            f"SERVINGCLIENT_{name} is {text!r}, which is no {kind.__name__}."
        ) from None
