"""A certificate authority of its own, so that clients can verify https on loopback."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path


class Certificates:
    """A fresh authority, a server certificate for loopback, and a file for clients."""

    def __init__(self) -> None:
        """Create both.

        Raises:
            RuntimeError: when ``trustme`` is not installed.
        """
        try:
            import trustme
        except ImportError:
            raise RuntimeError(
                "https on the emulator needs trustme: pip install 'servingclient[emulator]', "
                "or use Emulator(tls=False) for plain http"
            ) from None
        authority = trustme.CA()
        self.context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.context)
        self._folder = Path(tempfile.mkdtemp(prefix="serving-emulator-"))
        self.ca_file: str = str(self._folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)

    def remove(self) -> None:
        """Remove the file."""
        shutil.rmtree(self._folder, ignore_errors=True)
