"""A client that is nothing but a socket, so that a test sees what a fault does to the bytes."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass


def request(call_id: str, padding: int = 0) -> bytes:
    """A request that an echoing server answers with its id."""
    body = b'{"id": "%b", "x": "%b"}' % (call_id.encode(), b"x" * padding)
    return b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@dataclass(frozen=True)
class Heard:
    """What came until an end.

    Attributes:
        data: The bytes.
        end: ``"fin"``, ``"rst"`` or ``"silence"``.
        pieces: The size of each read.
        at_s: Seconds from ``since_s`` to each of them.
    """

    data: bytes
    end: str
    pieces: tuple[int, ...]
    at_s: tuple[float, ...]


def connected(port: int) -> socket.socket:
    """A connection to a loopback port; reads and connects give up after 5 s."""
    sock = socket.create_connection(("127.0.0.1", port), 5)
    sock.settimeout(5)
    return sock


def hear(
    sock: socket.socket,
    *,
    size: int | None = None,
    silence_s: float = 5.0,
    since_s: float | None = None,
) -> Heard:
    """Read until the end, or until so many bytes have come, or nothing has for a while.

    Times count from ``since_s`` (``time.monotonic``), by default from now.
    """
    start_s = time.monotonic() if since_s is None else since_s
    data, pieces, at_s, end = b"", [], [], ""
    sock.settimeout(silence_s)
    while not end and (size is None or len(data) < size):
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            end = "silence"
        except ConnectionResetError:
            end = "rst"
        else:
            end = "" if piece else "fin"
            data += piece
            if piece:
                pieces.append(len(piece))
                at_s.append(time.monotonic() - start_s)
    return Heard(data, end, tuple(pieces), tuple(at_s))
