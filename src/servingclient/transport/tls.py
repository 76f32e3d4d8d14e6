"""The TLS context all connections share."""

from __future__ import annotations

import functools
import ssl
import sys
from pathlib import Path

from servingclient.errors import ConfigError
from servingclient.settings import Tls


@functools.lru_cache(maxsize=16)
def ssl_context(tls: Tls, *, http: bool = True) -> ssl.SSLContext:
    """The context for ``tls``; made once, since reading a hundred roots takes 21 ms.

    Args:
        tls: The settings.
        http: HTTP/1.1 is what will be spoken, and said so in the handshake.

    Not ``ssl.create_default_context``: that obeys ``SSLKEYLOGFILE``, which writes the keys of every
    connection to a file of the environment's choice.

    Raises:
        ConfigError: The CA file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if http:
        context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is None:
        _load_roots(context)
    else:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or getattr(error, "reason", None) or type(error).__name__
            raise ConfigError(f"Tls.ca_file {tls.ca_file!r} cannot be read: {reason}.") from None
    return context


def _load_roots(context: ssl.SSLContext) -> None:
    """The system's roots by OpenSSL's built-in paths: ``load_default_certs`` would obey
    ``SSL_CERT_FILE``. Where an interpreter was built without a store, certifi's.
    """
    if sys.platform == "win32":
        context.load_default_certs()
        return
    paths = ssl.get_default_verify_paths()
    cafile = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    capath = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if cafile is None and capath is None:
        import certifi

        cafile = certifi.where()
    context.load_verify_locations(cafile=cafile, capath=capath)
