"""How one endpoint is shared out among workers that know nothing of each other. Pure."""

from __future__ import annotations

from servingclient.errors import ConfigError


def in_flight(budget: int, workers: int) -> int:
    """Requests each worker may have at once: its part of the budget rounded down, at least one.

    So all together stay within the budget as long as there are no more workers than it allows.
    """
    return max(1, budget // workers)


def checked_count(name: str, value: object) -> int | None:
    """A whole number above 0, or None.

    Raises:
        ConfigError: It is something else.
    """
    if value is None or (type(value) is int and value > 0):
        return value
    raise ConfigError(f"{name} is {repr(value)[:40]}; give a whole number above 0.")


def calls_per_s(qps: object, workers: int) -> float | None:
    """Requests a second of each worker; None without a limit.

    Raises:
        ConfigError: ``qps`` is no number above 0.
    """
    if qps is None:
        return None
    if isinstance(qps, (int, float)) and not isinstance(qps, bool) and 0 < qps < float("inf"):
        return qps / workers
    raise ConfigError(f"qps is {repr(qps)[:40]}; give requests a second above 0.")
