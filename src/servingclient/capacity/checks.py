"""Checks that the capacity formulas share: one sentence that names the number and its bounds."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Final

from servingclient.errors import ConfigError

MOST_SCV: Final = 1e6
"""More than any service time or arrival has; what is computed with it stays a number."""


LEAST: Final = 1e-9
"""Of what must be above 0: less than a nanosecond is a mistake, and its square no number."""


def number(
    name: str, value: object, *, least: float = 0.0, above: bool = False, most: float = math.inf
) -> float:
    """Refuse what is no finite number, lies below (with ``above``: at or below) ``least``, or
    above ``most``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a number, not {type(value).__name__}.")
    found = as_float(value)
    if not math.isfinite(found) or not least <= found <= most or (above and found == least):
        bound = f"above {least:g}" if above else f"at least {least:g}"
        bound += "" if math.isinf(most) else f", at most {most:g}"
        shown = "too large" if math.isinf(found) and isinstance(value, Integral) else value
        raise ConfigError(f"{name} is {shown}; it must be finite and {bound}.")
    if above and found < LEAST:
        raise ConfigError(f"{name} is {found:.3g}; below {LEAST:g} it means nothing.")
    return found


def as_float(value: Real) -> float:
    """The number as a float, also one of numpy's; infinity where a whole number is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def whole(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """Refuse what is no whole number from ``least`` on, up to ``most`` where there is one."""
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    found = int(value) if fits else least - 1  # type: ignore[call-overload]
    if not least <= found <= (found if most is None else most):
        bound = f"from {least:,} to {most:,}" if most else f"of at least {least:,}"
        raise ConfigError(f"{name} is {value!r}; it must be a whole number {bound}.")
    return found
