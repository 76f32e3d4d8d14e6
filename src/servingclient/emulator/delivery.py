"""How the bytes of a reply reach the client: at once, slowly, in part, twice, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from servingclient.emulator.wire import LAST_CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servingclient.emulator.wire import Message


class Outlet(Protocol):
    """The connection as a delivery sees it; every method is harmless once the client has gone."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def finish(self) -> None:
        """The reply is complete: serve the next request, or close if that was announced."""

    def close(self) -> None:
        """Send what is buffered, then FIN."""

    def reset(self) -> None:
        """Drop the connection with RST."""

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later, unless the connection has gone by then."""


class Delivery(Protocol):
    """One way to send a message."""

    def send(self, out: Outlet, message: Message) -> None:
        """Send the message, or whatever part of it this delivery sends."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Head and body in one write, as a healthy server does; streams chunk by chunk."""

    def send(self, out: Outlet, message: Message) -> None:
        """Send everything."""
        out.write(message.head + message.body)
        if message.chunks:
            _drip(out, message.chunks, message.interval_s, out.finish)
        else:
            out.finish()


PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing is ever sent and the connection stays open."""

    def send(self, out: Outlet, message: Message) -> None:
        """Send nothing."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection ends without a byte of reply."""

    how: Literal["reset", "fin"] = "reset"

    def send(self, out: Outlet, message: Message) -> None:
        """Send nothing and end the connection."""
        _end(out, self.how)


@dataclass(frozen=True, slots=True)
class Cut:
    """The head and half of the body, then the end: fewer bytes than announced."""

    how: Literal["reset", "fin"] = "reset"

    def send(self, out: Outlet, message: Message) -> None:
        """Send half of the body and end the connection."""
        out.write(message.head + message.body[: len(message.body) // 2])
        _end(out, self.how)


@dataclass(frozen=True, slots=True)
class CutStream:
    """The first events of a stream, then the end: of the connection, or without ``[DONE]``.

    A reply that is no stream is sent whole, and its connection goes on.
    """

    after_events: int
    how: Literal["reset", "fin", "end"] = "reset"

    def send(self, out: Outlet, message: Message) -> None:
        """Send some chunks and stop."""
        out.write(message.head + message.body)
        sent = message.chunks[: self.after_events]
        if not message.chunks:
            out.finish()
        elif self.how == "end":
            _drip(out, (*sent, LAST_CHUNK), message.interval_s, out.finish)
        else:
            how = self.how
            _drip(out, sent, message.interval_s, lambda: _end(out, how))


@dataclass(frozen=True, slots=True)
class Drip:
    """A few bytes at a time: each read succeeds and the whole takes far too long."""

    part: Literal["head", "body"]
    interval_s: float
    piece_bytes: int

    def send(self, out: Outlet, message: Message) -> None:
        """Send the chosen part in small pieces, the other part at once."""
        if self.part == "head":
            _drip(
                out,
                _pieces(message.head, self.piece_bytes),
                self.interval_s,
                lambda: _rest(out, message.body),
            )
        else:
            out.write(message.head)
            _drip(out, _pieces(message.body, self.piece_bytes), self.interval_s, out.finish)


@dataclass(frozen=True, slots=True)
class Informational:
    """Interim ``103 Early Hints`` replies before the real one."""

    count: int
    interval_s: float

    def send(self, out: Outlet, message: Message) -> None:
        """Send the interim replies, then the message."""
        hints = (
            b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
        ) * self.count
        _drip(out, hints, self.interval_s, lambda: _rest(out, message.head + message.body))


@dataclass(frozen=True, slots=True)
class Doubled:
    """A second reply that nobody asked for follows the first one in the same write."""

    second: bytes

    def send(self, out: Outlet, message: Message) -> None:
        """Send the message and the stray reply."""
        _rest(out, message.head + message.body + self.second)


@dataclass(frozen=True, slots=True)
class SilentClose:
    """A complete reply, and the connection closed right after it without a word."""

    def send(self, out: Outlet, message: Message) -> None:
        """Send everything, then FIN."""
        out.write(message.head + message.body)
        out.close()


@dataclass(frozen=True, slots=True)
class Raw:
    """Exactly these bytes in place of the message."""

    data: bytes
    then: Literal["keep", "fin", "reset"] = "keep"

    def send(self, out: Outlet, message: Message) -> None:
        """Send the given bytes."""
        out.write(self.data)
        if self.then == "keep":
            out.finish()
        else:
            _end(out, self.then)


SILENT = (Hang, Drop, Raw)
"""Deliveries that send no reply of the emulator's own."""


def _rest(out: Outlet, data: bytes) -> None:
    out.write(data)
    out.finish()


def _end(out: Outlet, how: Literal["reset", "fin"]) -> None:
    if how == "reset":
        out.reset()
    else:
        out.close()


def _pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + size] for start in range(0, len(data), size))


def _drip(
    out: Outlet, pieces: Sequence[bytes], interval_s: float, then: Callable[[], None]
) -> None:
    """Write the pieces ``interval_s`` apart, then call ``then``."""
    if not interval_s:
        out.write(b"".join(pieces))
        then()
        return
    if not pieces:
        then()
        return
    out.write(pieces[0])
    out.later(interval_s, lambda: _drip(out, pieces[1:], interval_s, then))
