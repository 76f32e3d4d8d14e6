"""Checks that the capacity formulas share: one sentence that names the number and its bounds."""

from __future__ import annotations

import math
from typing import Final

from servingclient.errors import ConfigError

MOST_SCV: Final = 1e6
"""More than any service time or arrival has; what is computed with it stays a number."""


def number(
    name: str, value: object, *, least: float = 0.0, above: bool = False, most: float = math.inf
) -> float:
    """Refuse what is no finite number, lies below (with ``above``: at or below) ``least``, or
    above ``most``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} must be a number, not {type(value).__name__}.")
    if not math.isfinite(value) or not least <= value <= most or (above and value == least):
        bound = f"above {least:g}" if above else f"at least {least:g}"
        bound += "" if math.isinf(most) else f", at most {most:g}"
        raise ConfigError(f"{name} is {value}; it must be finite and {bound}.")
    return float(value)


def whole(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Refuse what is no whole number from ``least`` on, up to ``most`` where there is one."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else least - 1
    if not least <= found <= (found if most is None else most):
        bound = f"from {least:,} to {most:,}" if most else f"of at least {least:,}"
        raise ConfigError(f"{name} is {value!r}; it must be a whole number {bound}.")
    return found
