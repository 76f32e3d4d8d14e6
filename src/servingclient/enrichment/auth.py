"""How a client of an external API says who it is. Pure.

The *principal* is who asks, in the sense that its answers are its own: it is part of every key
under which an answer is kept. Where none is given, a hash of the credential stands for it, so a
credential that is renewed finds nothing of the old one's; give a principal to keep it.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from servingclient.auth.headers import Headers, check_header, check_user_headers
from servingclient.errors import ConfigError

GivenHeaders = Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Bearer:
    """``Authorization: Bearer <token>``.

    Args:
        token: The token.
        principal: Who asks; None takes a hash of the token.
    """

    token: str = field(repr=False)
    principal: str | None = None

    def __post_init__(self) -> None:
        _check_text(self, "token")

    def headers(self) -> Headers:
        """The header line."""
        return (check_header("Authorization", f"Bearer {self.token}"),)


@dataclass(frozen=True, slots=True)
class Basic:
    """``Authorization: Basic <user and password>`` (RFC 7617, UTF-8).

    Args:
        user: User name, without a colon.
        password: The password; may be empty.
        principal: Who asks; None takes a hash of both.
    """

    user: str = field(repr=False)
    password: str = field(repr=False)
    principal: str | None = None

    def __post_init__(self) -> None:
        _check_text(self, "user")
        if not isinstance(self.password, str):
            raise ConfigError("Basic.password must be text.")
        if ":" in self.user:
            raise ConfigError("Basic.user holds a colon, which ends the name; it cannot be sent.")

    def headers(self) -> Headers:
        """The header line."""
        both = f"{self.user}:{self.password}".encode("utf-8", "surrogatepass")
        return (("Authorization", "Basic " + base64.b64encode(both).decode()),)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in a header of its own.

    Args:
        key: The key.
        header: Name of the header.
        principal: Who asks; None takes a hash of the key.
    """

    key: str = field(repr=False)
    header: str = "X-Api-Key"
    principal: str | None = None

    def __post_init__(self) -> None:
        _check_text(self, "key", "header")

    def headers(self) -> Headers:
        """The header line."""
        line = check_header(self.header, self.key)
        return (line,) if self.header.lower() == "authorization" else check_user_headers((line,))


@dataclass(frozen=True, slots=True)
class HeaderProvider:
    """Headers that a function of yours gives for each request, such as one that renews a token.

    Args:
        function: Takes nothing and returns header names with values; for the async client it may be
            ``async``. A plain one runs off the event loop there.
        principal: Who asks, the same after each renewal. It must differ between those who may see
            different answers.
    """

    function: GivenHeaders = field(repr=False)
    principal: str

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError("HeaderProvider.function must be a function that returns headers.")
        _check_text(self, "principal")


Auth = Bearer | Basic | ApiKey | HeaderProvider


class Identity(NamedTuple):
    """Who asks, and how it is shown.

    Attributes:
        principal: Hash that stands for who asks.
        fixed: Header lines of every request.
        provider: Gives more of them for each request, or None.
    """

    principal: str
    fixed: Headers
    provider: GivenHeaders | None


_KINDS: Final = (Bearer, Basic, ApiKey, HeaderProvider)


def identity_of(given: object, headers: Headers) -> Identity:
    """What ``auth=`` and ``headers=`` come to.

    Raises:
        ConfigError: One of them cannot be sent as it is.
    """
    auth = Bearer(given) if isinstance(given, str) else given
    if auth is not None and not isinstance(auth, _KINDS):
        if callable(auth):
            raise ConfigError(
                "auth is a bare function; give HeaderProvider(function, principal=...), so that "
                "answers kept for one principal are never given to another."
            )
        raise ConfigError(
            "auth must be a bearer token, Bearer, Basic, ApiKey or HeaderProvider, not "
            f"{type(auth).__name__}."
        )
    extra = check_user_headers(headers)
    principal: object = None if auth is None else auth.principal
    if principal is not None and (not isinstance(principal, str) or not principal):
        raise ConfigError("principal must be text that says who asks, or None.")
    if auth is None or isinstance(auth, HeaderProvider):
        own: Headers = ()
        provider = None if auth is None else auth.function
    else:
        own, provider = auth.headers(), None
    clash = {name.lower() for name, _ in own} & {name.lower() for name, _ in extra}
    if clash:
        raise ConfigError(f"Header {min(clash)} is given in headers and in auth; give it once.")
    who = f"p\0{principal}" if principal is not None else f"c\0{own!r}"
    # What an API answers may depend on any header, so those of headers= belong to who asks, too.
    text = f"{who}\0{sorted((name.lower(), value) for name, value in extra)!r}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    return Identity(digest, (*own, *extra), provider)


def secrets_of(headers: Headers) -> tuple[str, ...]:
    """What of header lines must not appear in a message: values, also without their scheme."""
    found = [value for _, value in headers]
    bare = [value.split(" ", 1)[1] for value in found if " " in value]
    basic = [value[6:] for value in found if value[:6].lower() == "basic "]
    return (*found, *bare, *(part for one in basic for part in _parts_of(one)))


def _parts_of(basic: str) -> tuple[str, ...]:
    """What Basic encodes, and the password alone: an API may show it as it understood it."""
    try:
        both = base64.b64decode(basic, validate=True).decode()
    except ValueError:
        return ()
    password = both.partition(":")[2]
    return (both, password) if password else ()


def provided(given: object) -> Headers:
    """What a provider's function returned, checked.

    Raises:
        ConfigError: It is no mapping of header names to values that can be sent.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            "The function of HeaderProvider returned no dict of headers but "
            f"{type(given).__name__}."
        )
    lines: list[tuple[str, str]] = []
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError("The function of HeaderProvider returned a header that is no text.")
        line = check_header(name, value)
        lines += (line,) if name.lower() == "authorization" else check_user_headers((line,))
    return tuple(lines)


def _check_text(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{type(owner).__name__}.{name} must be text that is not empty.")
