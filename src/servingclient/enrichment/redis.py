"""``RedisCache``: a cache that a fleet shares, as a user writes it down."""

from __future__ import annotations

import importlib.util
import os
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from servingclient._ports import Guard
from servingclient.enrichment.codec import SCHEMA, Codec
from servingclient.enrichment.redis_asking import Asking
from servingclient.enrichment.redis_links import Links
from servingclient.enrichment.redis_shared import SharedRedis
from servingclient.enrichment.redis_url import Place, parse
from servingclient.errors import ConfigError
from servingclient.settings.checks import number, switch, whole
from servingclient.transport.fork_lock import fork_lock

_PREFIX = re.compile(r"[A-Za-z0-9._:/-]{1,100}")
_SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True)
class RedisCache:
    """Answers of external APIs kept in Redis, shared by processes and machines.

    It is a second level behind the cache in the process, and never more than that: what a caller
    waits for has a time budget, what goes wrong is a miss, and a Redis that is down, slow or
    answers nonsense is left alone until somebody behind the callers finds it well again.

    Needs ``pip install 'servingclient[redis]'``. Plain and picklable; connections are made by the
    clients it is given to.

    Raises:
        ConfigError: An argument is wrong, or redis-py is not installed.

    Args:
        url: ``rediss://user:password@host:6379/0``; ``redis://`` to this machine only;
            ``unix:///path/to/redis.sock?db=0``. User and password percent-encoded; they are never
            shown.
    """

    url: str = field(repr=False)
    prefix: str = field(default="servingclient", kw_only=True)
    """What all names in Redis begin with. An ACL user needs no more than
    ``~servingclient:* +@read +@write +@connection +@transaction +eval``."""
    secret: str | bytes | None = field(default=None, kw_only=True, repr=False)
    """Key of a hash over each value, at least 16 bytes, the same in all processes: a value that
    others put there or changed is a miss. For a Redis that others can write to."""
    ca_file: str | None = field(default=None, kw_only=True)
    """PEM file with certificate authorities to trust instead of the system's."""
    allow_plaintext: bool = field(default=False, kw_only=True)
    """Let ``redis://`` go to another machine: values and password are then open to the network."""
    budget_s: float = field(default=0.05, kw_only=True)
    """How long a call may wait for one look at Redis, connecting and a lease included; each
    thousand keys are a look. A Redis in reach answers in a fiftieth of this."""
    max_value_bytes: int = field(default=1024 * 1024, kw_only=True)
    """Largest value stored or looked at. In the budget little more could be read, and small bytes
    can unfold to 64 times their size in memory."""
    lease_s: float = field(default=5.0, kw_only=True)
    """How long at most other processes leave a fetch to the one that began it, should it die; and
    half of the time their own calls have left."""

    def __post_init__(self) -> None:
        ca_file: object = self.ca_file
        if isinstance(ca_file, os.PathLike):
            object.__setattr__(self, "ca_file", os.fspath(ca_file))
        number(self, "budget_s", "lease_s", above=True)
        whole(self, "max_value_bytes")
        switch(self, "allow_plaintext")
        _check_prefix(self.prefix)
        _check_secret(self.secret)
        _check_ca_file(self.ca_file)
        parse(self.url, allow_plaintext=self.allow_plaintext)
        if importlib.util.find_spec("redis") is None:
            raise ConfigError("RedisCache needs redis-py: pip install 'servingclient[redis]'.")

    @property
    def _place(self) -> Place:
        return parse(self.url, allow_plaintext=self.allow_plaintext)

    def __repr__(self) -> str:
        return f"RedisCache({self._place.shown!r}, prefix={self.prefix!r})"

    def for_threads(self) -> SharedRedis:
        """A cache for a blocking client."""
        from servingclient.enrichment.redis_threads import ThreadLinks

        return self._over(ThreadLinks(self._place, self.ca_file), fork_lock())

    def for_tasks(self) -> SharedRedis:
        """A cache for an async client."""
        from servingclient.enrichment.redis_tasks import TaskLinks

        return self._over(TaskLinks(self._place, self.ca_file), nullcontext())

    def _over(self, links: Links, guard: Guard) -> SharedRedis:
        name = f"{self.prefix}:{SCHEMA}"
        asking = Asking(
            links,
            budget_s=self.budget_s,
            probe_key=f"{name}:probe",
            max_value_bytes=self.max_value_bytes,
            guard=guard,
            now=time.monotonic,
        )
        return SharedRedis(asking, self._codec(), name=name, lease_s=self.lease_s, guard=guard)

    def _codec(self) -> Codec:
        secret = self.secret.encode() if isinstance(self.secret, str) else self.secret
        return Codec(secret, self.max_value_bytes)


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigError(
            "RedisCache.prefix must be 1 to 100 letters, digits or any of . _ : / - in ASCII."
        )


def _check_secret(secret: object) -> None:
    if secret is None:
        return
    if not isinstance(secret, (str, bytes)):
        raise ConfigError(f"RedisCache.secret must be text, not {type(secret).__name__}.")
    if len(secret) < _SHORTEST_SECRET:
        raise ConfigError(
            f"RedisCache.secret has {len(secret)} characters; {_SHORTEST_SECRET} are the least. "
            "Make one with secrets.token_urlsafe()."
        )


def _check_ca_file(ca_file: object) -> None:
    if ca_file is None:
        return
    if not isinstance(ca_file, str):
        raise ConfigError(f"RedisCache.ca_file must be a path, not {type(ca_file).__name__}.")
    if not Path(ca_file).is_file():
        raise ConfigError(f"RedisCache.ca_file {ca_file!r} is no file.")
