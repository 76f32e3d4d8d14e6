"""Certificates of a private authority, good and bad, and server contexts that present them."""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
import warnings
from pathlib import Path

import pytest
import trustme

HOST = "localhost"
"""The name that good certificates carry, beside 127.0.0.1."""


class Authority:
    """A certificate authority for one test run; ``ca_file`` is what a client should trust."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)

    def good(self) -> ssl.SSLContext:
        """A valid certificate for localhost and 127.0.0.1."""
        return _presenting(self._ca.issue_cert(HOST, "127.0.0.1"))

    def expired(self) -> ssl.SSLContext:
        """A certificate that ended yesterday."""
        now = dt.datetime.now(dt.timezone.utc)
        start, end = now - dt.timedelta(days=30), now - dt.timedelta(days=1)
        return _presenting(self._ca.issue_cert(HOST, "127.0.0.1", not_before=start, not_after=end))

    def wrong_host(self) -> ssl.SSLContext:
        """A valid certificate of somebody else."""
        return _presenting(self._ca.issue_cert("elsewhere.example"))

    def untrusted(self) -> ssl.SSLContext:
        """A certificate of an authority that the client does not know."""
        return _presenting(trustme.CA().issue_cert(HOST, "127.0.0.1"))

    def self_signed(self) -> ssl.SSLContext:
        """A certificate that vouches for itself."""
        return _presenting(trustme.CA(), leaf=False)

    def tls_1_1_only(self) -> ssl.SSLContext:
        """A good certificate behind a protocol version that nobody should speak."""
        context = self.good()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def client(self) -> ssl.SSLContext:
        """What a plain client needs to trust ``good``; for servers' own tests."""
        return ssl.create_default_context(cafile=self.ca_file)


def _presenting(cert: trustme.LeafCert | trustme.CA, *, leaf: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if leaf:
        assert isinstance(cert, trustme.LeafCert)
        cert.configure_cert(context)
        return context
    assert isinstance(cert, trustme.CA)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(cert.private_key_pem.bytes() + cert.cert_pem.bytes())
        file.flush()
        context.load_cert_chain(file.name)
    return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The test run's certificate authority."""
    return Authority(tmp_path_factory.mktemp("authority"))
