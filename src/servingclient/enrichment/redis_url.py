"""Where a Redis server is, read from its URL. Pure.

The URL may hold a password, so no message quotes any of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from servingclient._types import is_loopback
from servingclient.errors import ConfigError

# visible ASCII but # / : ? @
_VISIBLE: Final = r"[!\"$-.0-9;->A-~]"
_ACCOUNT: Final = rf"(?:(?P<username>{_VISIBLE}*)(?::(?P<password>(?:{_VISIBLE}|:)*))?@)?"
_URL: Final = re.compile(
    r"(?P<scheme>redis|rediss)://"
    + _ACCOUNT
    + r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<db>[0-9]{1,5})?)?"
)
_UNIX: Final = re.compile(
    r"unix://" + _ACCOUNT + r"(?P<path>/[!\"$->A-~]+)(?:\?db=(?P<db>[0-9]{1,5}))?"
)
_FORMS: Final = (
    "Write rediss://user:password@host:6379/0, redis://localhost:6379/0 or "
    "unix:///path/to/redis.sock?db=0, with special characters in user and password "
    "percent-encoded."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A Redis server and the account there.

    Attributes:
        host: Name or address; empty for a Unix socket.
        port: TCP port.
        path: Path of a Unix socket; empty for TCP.
        tls: Speak TLS.
        db: Number of the database.
        username: ACL user, or None for the default one.
        password: Its password, or None.
    """

    host: str = ""
    port: int = 6379
    path: str = ""
    tls: bool = False
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The place without the account."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


def parse(url: object, *, allow_plaintext: bool) -> Place:
    """The place a URL names.

    Raises:
        ConfigError: It is no URL of a Redis server, or would send values and password unencrypted
            over a network without ``allow_plaintext``.
    """
    if not isinstance(url, str):
        raise ConfigError(f"RedisCache.url must be text, not {type(url).__name__}. {_FORMS}")
    if unix := _UNIX.fullmatch(url):
        return Place(path=unix["path"], **_account(unix))
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigError(f"RedisCache.url {_what_is_wrong(url)}. {_FORMS}")
    port = int(match["port"] or 6379)
    if not 0 < port <= 65535:
        raise ConfigError(f"RedisCache.url holds a port beyond 65535 or 0. {_FORMS}")
    host = match["host"].strip("[]").lower()
    tls = match["scheme"] == "rediss"
    if not (tls or allow_plaintext or is_loopback(host)):
        raise ConfigError(
            "RedisCache.url is plain redis:// to another machine: whoever listens in between reads "
            "values and password, and can change them. Use rediss://, or allow_plaintext=True "
            "where the network is trusted."
        )
    return Place(host=host, port=port, tls=tls, **_account(match))


def _account(match: re.Match[str]) -> dict[str, Any]:
    username, password = match["username"], match["password"]
    return {
        "db": int(match["db"] or 0),
        "username": unquote(username) if username else None,
        "password": unquote(password) if password else None,
    }


def _what_is_wrong(url: str) -> str:
    """In words that quote nothing."""
    scheme, mark, rest = url.partition("://")
    if not url:
        return "is empty"
    if not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        return "holds blanks, control characters or characters beyond ASCII"
    if not mark or scheme not in ("redis", "rediss", "unix"):
        return "does not begin with rediss://, redis:// or unix://"
    if "#" in rest or ("?" in rest and scheme != "unix"):
        return "holds a query or a fragment"
    if rest.count("@") > 1:
        return "holds more than one @"
    return "names no host, port and database, or no socket path, that can be read"
