"""Inputs to request bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, switch, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """How inputs become requests. ``client.explain(inputs)`` tells what each step saves."""

    nan: Literal["raise", "null"] = "raise"
    """NaN, NaT, infinities and missing values: refuse them naming row and column, or send null.
    A silent null is a wrong answer."""
    decimal: Literal["raise", "str", "float"] = "raise"
    """Decimals: refuse, send as text, or send as the nearest double."""
    stringify_columns: bool = False
    """Turn column names that are no strings into strings instead of refusing them."""
    floats: Literal["exact", "float32"] = "exact"
    """Send floats as they are, or as the nearest 32-bit float, which prints in about half the
    digits: for models that compute in 32 bits anyway. Integers stay exact; floats
    that are whole numbers may not, such as ids that pandas made floats."""
    significant_digits: int | None = None
    """Round floats to so many digits, 1 to 15; None sends all. The error of a value is at most
    half a unit of its last digit, so 6 digits keep it within 5e-6 of the value."""
    validate: bool = False
    """Check columns against the model's signature before sending: required ones, and values that
    the service would refuse or change without a word (2.5 for a whole number). Off, because it
    reads the signature from the workspace before the first call."""
    prune: bool = False
    """Leave out columns the model's signature does not know; reads it like ``validate``. Not for
    models that look features up and take further columns to override them."""
    codec: Literal["json", "msgpack"] = "json"
    """Format of requests. The service speaks JSON alone; MessagePack is for a gateway of your own,
    which may answer in either."""
    gzip: Literal["off", "probe"] = "off"
    """Compress requests once one has been accepted so; a refusal is remembered and its request
    sent again plain. Off: no source says that the service takes it, and MLflow's server does
    not. Calls with ``idempotent=False`` never try it first."""
    gzip_min_bytes: int = 8 * 1024
    """Smallest body that is compressed: below it, the time is worth more than the bytes."""
    gzip_level: int = 1
    """Effort of compression, 1 to 9: level 6 takes 4-6 times as long for a tenth fewer bytes."""
    max_request_bytes: int | None = None
    """Largest request, before compression; None takes the service's documented limit: 16 MiB, for
    agents 4 MiB."""

    def __post_init__(self) -> None:
        whole(self, "max_request_bytes", "significant_digits", "gzip_min_bytes", "gzip_level")
        switch(self, "stringify_columns", "validate", "prune")
        for name, most in (("significant_digits", 15), ("gzip_level", 9)):
            value = getattr(self, name)
            if value is not None and value > most:
                raise ConfigError(f"Payload.{name} is {value}; it must be at most {most}.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"Payload.{name} is {getattr(self, name)!r}; choose one of {allowed}."
                )


_CHOICES = {
    "nan": ("raise", "null"),
    "decimal": ("raise", "str", "float"),
    "floats": ("exact", "float32"),
    "codec": ("json", "msgpack"),
    "gzip": ("off", "probe"),
}
