"""Which addresses an API may have. Pure.

A service that can be made to call an address inside its own network gives strangers a way in
(server-side request forgery), and a cloud's metadata service at 169.254.169.254 gives them its
credentials. So a base URL leads to the public internet over https, unless
``EnrichmentSettings.allow_private_hosts`` says otherwise; what its name resolves to is checked
again when a connection is opened, since a name can be made to lead anywhere.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from servingclient._types import Origin, is_loopback
from servingclient.auth.origin import parse_host
from servingclient.enrichment.templates import leads_elsewhere
from servingclient.errors import ConfigError

_URL: Final = re.compile(
    r"(https?)://([^/?#]*)((?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)", re.IGNORECASE
)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_V4_INSIDE: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"),
    )
)
"""Whose last 32 bits are an address of IPv4: RFC 6052, 8215, 4291 section 2.5.5.1, 2765."""
_SPECIAL: Final = ipaddress.IPv4Network("192.0.0.0/24")
"""For protocols (RFC 6890); a cloud has its metadata service there, at 192.0.0.192."""
_HOW: Final = "give https://<host>[:port][/path]"


def parse_base_url(text: object, *, allow_private: bool) -> tuple[Origin, str]:
    """Origin and path of a base URL; the path without a slash at its end.

    Raises:
        ConfigError: It is no plain https URL (http goes to loopback alone, and that must be
            allowed), or leads to an address that is not public and not allowed. It is not shown: a
            URL may hold a password.
    """
    if not isinstance(text, str):
        raise ConfigError(f"base_url must be text, not {type(text).__name__}; {_HOW}.")
    found = _URL.fullmatch(text)
    if found is None:
        raise ConfigError(f"base_url {_what_is_wrong(text)}; {_HOW}.")
    scheme, authority, path = found[1].lower(), found[2], found[3].rstrip("/")
    if "@" in authority:
        raise ConfigError(f"base_url holds user info; {_HOW}, and the credential as auth=.")
    if any(not segment or leads_elsewhere(segment) for segment in path.split("/")[1:]):
        raise ConfigError(f"base_url has a path with empty or dot segments; {_HOW}.")
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise ConfigError(f"base_url has a percent sign that begins no escape; {_HOW}.")
    try:
        origin = parse_host(f"https://{authority}")
    except ConfigError:
        raise ConfigError(f"base_url has no valid host name or port; {_HOW}.") from None
    if scheme == "http":
        origin = parse_plain(authority, origin.host, allow_private=allow_private)
    refused = None if allow_private else _named_private(origin.host)
    if refused is None:
        refused = refusal(origin.host, allow_private=allow_private)
    if refused is not None:
        raise ConfigError(f"base_url leads to {refused}.")
    return origin, path


def parse_plain(authority: str, host: str, *, allow_private: bool) -> Origin:
    """The origin of a base URL over plain http.

    Raises:
        ConfigError: The host is not this machine, or that is not allowed.
    """
    if not is_loopback(host) or not allow_private:
        raise ConfigError(
            "base_url asks for plain http, which shows credential and data to everyone on the way; "
            "use https:// (http goes to loopback only, with "
            "EnrichmentSettings(allow_private_hosts=True))."
        )
    return parse_host(f"http://{authority}")


def refusal(host: str, *, allow_private: bool) -> str | None:
    """Why an address may not be called; None where it may, and for a name.

    Args:
        host: An address, or a name, whose addresses are known only later.
        allow_private: Whether addresses that are not public are fine.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    what = next(filter(None, map(_not_public, _all_of(address))), None)
    if what is None or (allow_private and what not in ("multicast", "unspecified")):
        return None
    more = (
        ""
        if what in ("multicast", "unspecified")
        else ("; if that is meant, set EnrichmentSettings(allow_private_hosts=True)")
    )
    article = "an" if what == "unspecified" else "a"
    return f"{article} {what} address, which is not called{more}"


def _named_private(host: str) -> str | None:
    if host == "localhost" or host.endswith(".localhost"):
        return (
            "this machine, which is not called; if that is meant, set "
            "EnrichmentSettings(allow_private_hosts=True)"
        )
    return None


def _all_of(address: _Address) -> list[_Address]:
    """The address and those of IPv4 that are written inside it."""
    found: list[_Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inside = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in net for net in _V4_INSIDE) and int(address) > 1:
            inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found.extend(one for one in inside if one is not None)
    return found


def _not_public(address: _Address) -> str | None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return None  # judged as the address it stands for
    for what, holds in (
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("private", not address.is_global or _is_internal(address)),
    ):
        if holds:
            return what
    return None


def _is_internal(address: _Address) -> bool:
    """What not all versions of Python know not to be public."""
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_site_local
    return address in _SPECIAL


def _what_is_wrong(text: str) -> str:
    """In words that quote nothing."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds blanks, control characters or characters beyond ASCII"
    if "?" in text or "#" in text:
        return "holds a query or fragment"
    if not re.match(r"https?://", text, re.IGNORECASE):
        return "has a scheme other than https, or none"
    return "is no plain URL"
