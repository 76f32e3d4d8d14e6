"""TLS faults by name, for a proxy that speaks TLS."""

from __future__ import annotations

from tests.faults.toxics import PlainOnTls, Tls
from tests.scripted.certificates import Authority


def tls_expired(authority: Authority) -> Tls:
    """A certificate that ended yesterday."""
    return Tls(authority.expired())


def tls_wrong_host(authority: Authority) -> Tls:
    """A valid certificate of somebody else."""
    return Tls(authority.wrong_host())


def tls_self_signed(authority: Authority) -> Tls:
    """A certificate that vouches for itself."""
    return Tls(authority.self_signed())


def tls_untrusted(authority: Authority) -> Tls:
    """A certificate of an authority that the client does not know."""
    return Tls(authority.untrusted())


def tls_old_version(authority: Authority) -> Tls:
    """TLS 1.1 and nothing newer."""
    return Tls(authority.tls_1_1_only(), alert=True)


def tls_plain() -> PlainOnTls:
    """Plain HTTP on the TLS port."""
    return PlainOnTls()
