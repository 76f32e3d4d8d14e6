"""TLS as bytes in, bytes out, for both colours of lane. No sockets here.

Both lanes could leave TLS to the standard library's socket and asyncio transports. Measured for a
small call over loopback, those cost more: ``SSLSocket`` with a time-out makes six system calls
where two will do, and asyncio's TLS layer is a second transport with its own buffers and futures.
Certificate and host name are checked by OpenSSL all the same.
"""

from __future__ import annotations

import ssl

_RECORD_BYTES = 64 * 1024  # more than any record holds (16 KB), so a read takes a whole one


class TlsSession:
    """One TLS connection.

    Attributes:
        closed: The peer said goodbye (close_notify): what came before is whole.
    """

    __slots__ = ("_incoming", "_outgoing", "_ssl", "closed")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.closed: bool = False

    def handshake(self, data: bytes | memoryview) -> tuple[bytes, bool]:
        """Take what arrived (nothing at first).

        Returns:
            What to send, and whether the handshake is done.

        Raises:
            ssl.SSLError: Certificate, host name or protocol version is refused.
        """
        if data:
            self._incoming.write(data)
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        return self._outgoing.read(), True

    def last_words(self) -> bytes:
        """After a failed handshake: the alert that tells the peer why."""
        return self._outgoing.read()

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """``data`` as it goes over the wire."""
        self._ssl.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes | memoryview) -> bytes:
        """The plain text ``data`` completes; empty when a record is not whole yet.

        Raises:
            ssl.SSLError: The record is forged or broken.
        """
        incoming = self._incoming
        size = incoming.write(data)
        try:
            # As much as came, since plain text is shorter: a read allocates all it may return, and
            # 64 KB cost 0.5 us.
            plain = self._ssl.read(size)
        except ssl.SSLWantReadError:
            return b""
        # Seldom: nearly every reply is one record, and all of it has come at once.
        if incoming.pending or len(plain) == size:
            return self._decrypt_more([plain])
        if not plain:
            self.closed = True
        return plain

    def _decrypt_more(self, pieces: list[bytes]) -> bytes:
        try:
            while pieces[-1]:
                pieces.append(self._ssl.read(_RECORD_BYTES))
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def to_send(self) -> bytes:
        """What TLS itself has to say (an answer to a key update); nearly always empty."""
        return self._outgoing.read() if self._outgoing.pending else b""
