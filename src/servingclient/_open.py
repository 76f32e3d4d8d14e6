"""What the two doors have in common: checks of arguments, and which settings a copy may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from servingclient.errors import ConfigError
from servingclient.settings import Settings, changed

_OF_THE_POOL: Final = frozenset(
    {"close_timeout_s", "headers", "pool", "proxy", "queue", "tls", "token", "trusted_hosts"}
)


def checked_timeout(timeout: object) -> float:
    """A ``timeout=`` argument in seconds.

    Raises:
        ConfigError: It is no number above 0.
    """
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not math.isfinite(timeout)
        or timeout <= 0
    ):
        raise ConfigError(f"timeout is {timeout!r}; give seconds above 0, such as timeout=2.5.")
    return float(timeout)


def changed_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings of a copy that shares the pool.

    Raises:
        ConfigError: A change needs connections or credentials of its own, or is no setting.
    """
    fixed = sorted(_OF_THE_POOL & changes.keys())
    if fixed:
        raise ConfigError(
            f"with_options() shares connections and credentials, so it cannot change "
            f"{', '.join(fixed)}. Make a new client with these settings."
        )
    return changed(settings, changes)
