"""What can be wrong with a connection, as values. Names as in toxiproxy where it has the fault.

A toxic says what; a rule (``rules.py``) says which connection or reply gets it, and when. *Down* is
from the server to the client.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from typing import Literal

Side = Literal["both", "up", "down"]


@dataclass(frozen=True)
class Latency:
    """Each reply comes ``delay_s`` late, plus or minus up to ``jitter_s``."""

    delay_s: float
    jitter_s: float = 0.0


@dataclass(frozen=True)
class Bandwidth:
    """So many bytes a second, in each direction of each connection."""

    bytes_per_s: float
    side: Side = "both"


@dataclass(frozen=True)
class SlowClose:
    """What the server closes, the client sees closed ``delay_s`` later."""

    delay_s: float


@dataclass(frozen=True)
class Timeout:
    """From the first byte on nothing passes; after ``after_s`` the connection is closed."""

    after_s: float = math.inf


@dataclass(frozen=True)
class ResetPeer:
    """RST ``after_s`` after the connection was accepted; one that is older, after its next byte."""

    after_s: float = 0.0


@dataclass(frozen=True)
class Slicer:
    """Replies in pieces of ``size`` bytes, ``delay_s`` apart."""

    size: int = 1
    delay_s: float = 0.0


@dataclass(frozen=True)
class LimitData:
    """FIN after so many bytes of replies on one connection."""

    size: int


@dataclass(frozen=True)
class Blackhole:
    """Bytes vanish in these directions for as long as it is in force; nothing is ever closed."""

    side: Side = "both"


@dataclass(frozen=True)
class HalfOpen:
    """The peer is gone and nobody said so: from its next byte on a connection is dead for good."""


@dataclass(frozen=True)
class FinAfter:
    """FIN right after so many replies on one connection."""

    replies: int = 1


@dataclass(frozen=True)
class IdleClose:
    """FIN after ``after_s`` without a request, as servers with a keep-alive limit do."""

    after_s: float


@dataclass(frozen=True)
class CutBody:
    """Half of the reply's body, then RST or FIN."""

    how: Literal["rst", "fin"] = "rst"


@dataclass(frozen=True)
class DripBody:
    """The body byte by byte."""

    interval_s: float


@dataclass(frozen=True)
class DripHead:
    """The head byte by byte."""

    interval_s: float


@dataclass(frozen=True)
class Drip1xx:
    """``103 Early Hints`` again and again; after ``count`` of them the reply."""

    interval_s: float
    count: int = 1000


@dataclass(frozen=True)
class Tls:
    """Another certificate, or other versions, for connections that are made now.

    ``alert`` shakes hands as an ordinary server that refuses does, with the alert that asyncio's
    own TLS drops; no connection comes of it.
    """

    context: ssl.SSLContext
    alert: bool = False


@dataclass(frozen=True)
class PlainOnTls:
    """Plain HTTP where a TLS handshake was expected, as a misled load balancer answers."""


Toxic = (
    Latency
    | Bandwidth
    | SlowClose
    | Timeout
    | ResetPeer
    | Slicer
    | LimitData
    | Blackhole
    | HalfOpen
    | FinAfter
    | IdleClose
    | CutBody
    | DripBody
    | DripHead
    | Drip1xx
    | Tls
    | PlainOnTls
)
Toxics = tuple[Toxic, ...]
