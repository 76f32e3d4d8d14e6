"""Every setting: default, unit, reason. A default is written here and nowhere else.

All dataclasses are frozen; ``Settings.replace`` and ``client.with_options`` make changed copies.
A value that cannot work raises :class:`~servingclient.errors.ConfigError` when the object is made.
One file a group; ``root`` holds ``Settings`` itself and alone reads the environment.
"""

from __future__ import annotations

from servingclient.settings.batching import Batching
from servingclient.settings.bulk import Bulk
from servingclient.settings.checks import changed
from servingclient.settings.concurrency import Concurrency, Priority
from servingclient.settings.enrichment import Breaker, Caching, EnrichmentSettings, RateLimit
from servingclient.settings.hedge import Hedge
from servingclient.settings.payload import Payload
from servingclient.settings.pool import Pool, Queue
from servingclient.settings.retry import Retry
from servingclient.settings.root import Settings
from servingclient.settings.tls import Tls
from servingclient.settings.token import Token

__all__ = [
    "Batching",
    "Breaker",
    "Bulk",
    "Caching",
    "Concurrency",
    "EnrichmentSettings",
    "Hedge",
    "Payload",
    "Pool",
    "Priority",
    "Queue",
    "RateLimit",
    "Retry",
    "Settings",
    "Tls",
    "Token",
    "changed",
]
