"""Replies that a client must refuse, and gzip in good and bad shapes. Bytes only."""

from __future__ import annotations

import gzip
import struct
import zlib

from tests.scripted.server import reply

BODY = b'{"predictions": [' + b", ".join(b"%d" % n for n in range(500)) + b"]}"
"""A body worth compressing (about 2 KB)."""


def gzipped(body: bytes = BODY, *headers: str, coding: str = "gzip") -> bytes:
    """A reply whose body is gzip."""
    return reply(gzip.compress(body, mtime=0), f"Content-Encoding: {coding}", *headers)


def members(*parts: bytes) -> bytes:
    """A reply whose body is one gzip member a part."""
    return reply(b"".join(gzip.compress(p, mtime=0) for p in parts), "Content-Encoding: gzip")


def gzip_cut(at: int, body: bytes = BODY) -> bytes:
    """Gzip cut after ``at`` bytes, with a Content-Length that fits the cut."""
    return reply(gzip.compress(body, mtime=0)[:at], "Content-Encoding: gzip")


def gzip_bad_crc(body: bytes = BODY) -> bytes:
    """Gzip whose checksum is wrong."""
    data = bytearray(gzip.compress(body, mtime=0))
    data[-8] ^= 0xFF
    return reply(bytes(data), "Content-Encoding: gzip")


def bomb(decoded_mib: int = 1024) -> bytes:
    """About 1 KB of gzip for each MiB of zeros it decodes to; one member, checksum not set."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x02\xff"
    tail = b"\x03\x00" + struct.pack("<II", 0, (decoded_mib << 20) & 0xFFFFFFFF)
    return reply(head + block * decoded_mib + tail, "Content-Encoding: gzip")


NOT_HTTP = {
    "ssh_banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "garbage": b"\x00\x01\x02 nonsense\r\n\r\n",
    "http2_status_line": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "four_digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status_999": reply(status="999 Odd"),
    "status_600": reply(status="600 Odd"),
    "status_099": reply(status="099 Odd"),
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "coding_gzip_in_transfer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
}
"""Inputs 45 and 67 and their like: the reply is no HTTP/1.x reply, and never will be."""

UNASKED_CODINGS = {
    name: reply(b"\x00\x01\x02\x03", f"Content-Encoding: {name}")
    for name in ("br", "zstd", "deflate", "foo", "gzip, gzip", "gzip, br")
}
"""Input 49: codings that were not offered."""


def _framed(head: bytes, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body


BROKEN_FRAMING = {
    "length_negative": _framed(b"Content-Length: -2"),
    "length_plus": _framed(b"Content-Length: +2"),
    "length_overflow": _framed(b"Content-Length: 99999999999999999999"),
    "length_twice_differing": _framed(b"Content-Length: 2\r\nContent-Length: 3"),
    "length_and_chunked": _framed(
        b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "length_short": _framed(b"Content-Length: 100"),
    "chunked_without_end": _framed(b"Transfer-Encoding: chunked", b"2\r\n{}\r\n"),
    "chunk_size_bad": _framed(b"Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk_cut": _framed(b"Transfer-Encoding: chunked", b"ff\r\n{}"),
    "folded_header": _framed(b"X-A: 1\r\n 2\r\nContent-Length: 2"),
    "nul_in_header": _framed(b"X-A: a\x00b\r\nContent-Length: 2"),
    "blank_before_colon": _framed(b"X-A : a\r\nContent-Length: 2"),
    "head_cut": b"HTTP/1.1 200 OK\r\nContent-Le",
}
"""Inputs 51 and 53: after the last byte the server closes."""

HUGE_HEADER = reply(b"{}", "X-Filler: " + "a" * 200_000)
"""Input 52."""

HUGE_INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5000 + reply()
"""200 KB of interim replies."""
