"""Which hosts, names and paths a credential may travel to. Pure.

Two kinds of address are told apart. A host the *user* typed is trusted: it is what they named, so
only its form is checked. An address the *service* sent (``endpoint_url`` of a description) is
checked against the workspace it came from, because a bearer sent astray cannot be called back:
it must be https on port 443 under the Databricks domain of the same cloud, or a host the user
listed. Texts are matched whole against narrow patterns instead of being taken apart by
``urllib.parse``, which drops tabs and newlines and reads ``https://ws@evil.com`` as ``evil.com``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from servingclient._types import Origin, is_loopback
from servingclient.errors import ConfigError, UntrustedEndpointError

_SCHEME = r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
_HOST = r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_TYPED_HOST = re.compile(_SCHEME + _HOST + _PORT + r"/?")
_SENT_URL = re.compile(_SCHEME + _HOST + _PORT + r"(?P<path>/[A-Za-z0-9._~/-]*)")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENDPOINT_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SERVED_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_LONGEST_URL = 2048


def whole(pattern: re.Pattern[str], text: object) -> re.Match[str] | None:
    """The match of all of ``text``; None also where a caller passed something else than text."""
    return pattern.fullmatch(text) if isinstance(text, str) else None


_ZONES = (
    ".cloud.databricks.com",
    ".cloud.databricks.us",
    ".cloud.databricks.mil",
    ".azuredatabricks.net",
    ".databricks.azure.us",
    ".databricks.azure.cn",
    ".gcp.databricks.com",
)
"""Domains of workspaces, one per cloud and region kind. Route-optimized endpoints live under
``.serving`` + the same domain: documented for the three public clouds, by analogy for the others
(those are Databricks' own names too, so the analogy cannot leak a token)."""


def parse_host(text: str) -> Origin:
    """The origin of a workspace the user named, such as ``https://adb-1.azuredatabricks.net``.

    Without a scheme it is https; plain http is for loopback hosts alone.

    Raises:
        ConfigError: The text holds more than a host (user info, path, query, fragment), is no
            ASCII host name, or asks for plain http over a network.
    """
    found = whole(_TYPED_HOST, text)
    if found is None:
        raise ConfigError(f"host {_what_is_wrong(text)}; give only https://<workspace host>.")
    scheme = (found["scheme"] or "https").lower()
    host = _checked_host(found["host"])
    port = _port_of(found["port"], scheme)
    if host is None or port is None:
        raise ConfigError("host is no valid host name; give only https://<workspace host>.")
    if scheme not in ("https", "http"):
        raise ConfigError("host has a scheme other than https; give https://<workspace host>.")
    if scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"host {host} is asked for over plain http, which would show the credential to "
            "everyone on the way; use https:// (http is for loopback hosts only)."
        )
    return Origin(scheme, host, port)


def zone_of(host: str) -> str | None:
    """The Databricks domain ``host`` belongs to, or None for a host with a name of its own."""
    return next((zone for zone in _ZONES if host.endswith(zone)), None)


def check_endpoint_name(name: str) -> str:
    """The name itself, once it is certain that it cannot change the path it is put into.

    Raises:
        ConfigError: It holds more than letters, digits, dash and underscore, or is too long.
    """
    if not whole(_ENDPOINT_NAME, name):
        raise ConfigError(
            "endpoint must be the plain name of a serving endpoint: 1 to 63 letters, digits, "
            "dashes and underscores. Copy it from the Serving page, without URL or slashes."
        )
    return name


def check_served_model_name(name: str) -> str:
    """The same for a served model; dots are allowed, as its default name holds the model's.

    Raises:
        ConfigError: It cannot be the name of a served model.
    """
    if not whole(_SERVED_NAME, name):
        raise ConfigError(
            "served_model must be the name of a served model of this endpoint, such as "
            "'fraud-model-2': letters, digits, dash, underscore and dot. See the endpoint's "
            "configuration."
        )
    return name


def check_data_plane_url(
    url: str, workspace: Origin, trusted_hosts: Collection[str] = ()
) -> tuple[Origin, str]:
    """Origin and path of an ``endpoint_url`` the workspace sent, if a token may go there.

    Accepted are: the workspace's own origin; https on port 443 under ``.serving`` + the
    workspace's own Databricks domain; a host of ``trusted_hosts`` on any port; and, for a
    workspace on loopback, loopback on any port (plain http only if the workspace is).

    Raises:
        UntrustedEndpointError: Anything else. The message names the host where it is clear.
    """
    found = whole(_SENT_URL, url)
    if found is None or found["scheme"] is None or len(url) > _LONGEST_URL:
        raise _untrusted(f"is no plain https URL: it {_what_is_wrong(url)}")
    scheme, host = found["scheme"].lower(), _checked_host(found["host"])
    port = _port_of(found["port"], scheme)
    if host is None or port is None:
        raise _untrusted("holds no valid host name or port")
    path = found["path"]
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise _untrusted(f"has a path with empty or dot segments on host {host}")
    origin = Origin(scheme, host, port)
    if origin != workspace:
        _check_foreign(origin, workspace, trusted_hosts)
    return origin, path


def _check_foreign(origin: Origin, workspace: Origin, trusted_hosts: Collection[str]) -> None:
    host = origin.host
    local = is_loopback(workspace.host) and is_loopback(host)
    plain_ok = local and workspace.scheme == "http"
    if origin.scheme != "https" and not (origin.scheme == "http" and plain_ok):
        raise _untrusted(f"asks for {origin.scheme} on host {host}")
    if local or host in trusted_hosts:
        return
    zone = zone_of(workspace.host)
    if zone is None or not host.endswith(".serving" + zone):
        raise _untrusted(f"names host {host}, which is not of this workspace's cloud")
    if origin.port != 443:
        raise _untrusted(f"names port {origin.port} on host {host}")


def trusted(hosts: Collection[str]) -> frozenset[str]:
    """``Settings.trusted_hosts`` as plain lower-case host names.

    Raises:
        ConfigError: One of them is no host.
    """
    return frozenset(parse_host(host).host for host in hosts)


def _untrusted(reason: str) -> UntrustedEndpointError:
    return UntrustedEndpointError(
        f"The endpoint's own URL, as the workspace gave it, {reason}; no token was sent there. "
        "If that host is yours, list it in Settings.trusted_hosts."
    )


def _checked_host(text: str) -> str | None:
    """The host in lower case (IPv6 without brackets), or None when it is none."""
    host = text.lower()
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1]))
        labels = host.split(".")
        if _NUMERIC.fullmatch(labels[-1]):
            # "127.1", "0x7f.1" and "2130706433" mean an address to some resolvers and not to us
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None
    return host if all(_LABEL.fullmatch(label) for label in labels) else None


def _port_of(text: str | None, scheme: str) -> int | None:
    if text is None:
        return 80 if scheme == "http" else 443
    port = int(text)
    return port if 0 < port <= 65535 else None


def _what_is_wrong(text: object) -> str:
    """In words that quote nothing: what is not a host may well be a secret."""
    if not isinstance(text, str):
        return f"is {type(text).__name__}, not text"
    rest = text.split("://", 1)[-1]
    if not text:
        return "is empty"
    if not text.isascii():
        return "holds characters beyond ASCII"
    if any(c.isspace() or not c.isprintable() for c in text):
        return "holds blanks or control characters"
    for mark, what in (("@", "user info"), ("?", "a query"), ("#", "a fragment"), ("/", "a path")):
        if mark in rest:
            return f"holds {what}"
    return "is not a host name" if len(text) <= _LONGEST_URL else "is too long"
