"""Inputs to JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, switch, whole


@names_checked
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
        whole(self, "max_request_bytes")
        switch(self, "stringify_columns")
        for name, allowed in (("nan", ("raise", "null")), ("decimal", ("raise", "str", "float"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"Payload.{name} is {getattr(self, name)!r}; choose one of {allowed}."
                )
