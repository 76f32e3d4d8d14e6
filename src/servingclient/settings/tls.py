"""Certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, switch, text


@names_checked
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
        text(self, "ca_file")
        switch(self, "verify", "allow_insecure")
        if not self.verify and not self.allow_insecure:
            raise ConfigError(
                "Tls(verify=False) sends credentials to anyone who answers. For a private "
                "certificate authority pass ca_file=; for a local test server add "
                "allow_insecure=True."
            )
