"""Values that travel between the floors. Pure data: no clock, no I/O.

Values made once per call are named tuples (built in C, 0.3 us); a frozen dataclass of eight
fields costs about 2 us, a tenth of what the library may spend on a call.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, NoReturn

Sent = Literal["no", "maybe", "yes"]
"""Whether the endpoint may have seen a request."""

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Header lines in the order they arrived, names and values as on the wire."""


class Headers(RawHeaders):
    """The header lines of a reply's head, read when first looked at: most calls never do.

    Args:
        head: The head without its last empty line, checked to be HTTP.
    """

    __slots__ = ("_head", "_lines")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._lines: list[tuple[bytes, bytes]] | None = None

    def _read(self) -> list[tuple[bytes, bytes]]:
        if self._lines is None:
            cut = (line.partition(b":") for line in self._head.split(b"\r\n")[1:])
            self._lines = [(name, value.strip(b" \t")) for name, _, value in cut]
        return self._lines

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._read())


def joined(headers: RawHeaders, name: bytes) -> str:
    """The values of header ``name`` (lower case) joined by ``", "``; empty if there is none."""
    return b", ".join(value for key, value in headers if key.lower() == name).decode("latin-1")


class Hidden(tuple[str, ...]):
    """Texts that are to be kept out of messages. It does not show them itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} texts>"


class Unset(Enum):
    """Marks an argument that was not given, where ``None`` already has a meaning."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset.UNSET


class Origin(NamedTuple):
    """Where a connection goes: ``https`` or ``http`` (loopback only), host in ASCII, port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost``, in 127.0.0.0/8, or ``::1``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Form(NamedTuple):
    """What the header lines say of a body: its type, and how it is packed. Fixed words only."""

    content_type: str
    coding: str | None


_JSON_LINES: Final = {"Content-Type": "application/json", "Accept": "application/json"}


_LINE_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_FRAMING: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """One checked destination with its headers: everything of a request but the body.

    Attributes:
        origin: Where to connect.
        method: HTTP method in capitals.
        path: Path with query, percent-encoded, starting with ``/``.
        headers: Header lines, checked names and values, without Host and Content-Length.
        head: The same as the bytes of an HTTP/1.1 head, up to where Content-Length follows.
    """

    origin: Origin
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    head: bytes

    def carrying(self, form: Form) -> Target:
        """The same destination for a body in another form than plain JSON.

        Costs 2 us, so it need not be kept: what it is for costs a hundred times that.
        """
        headers, head = [], self.head
        for name, value in self.headers:
            if _JSON_LINES.get(name) == value != form.content_type:
                other = form.content_type + (f", {value}" if name == "Accept" else "")
                line = f"\r\n{name}: %s\r\n"
                head = head.replace((line % value).encode(), (line % other).encode(), 1)
                headers.append((name, other))
            else:
                headers.append((name, value))
        if form.coding is not None:
            headers.append(("Content-Encoding", form.coding))
            head += f"Content-Encoding: {form.coding}\r\n".encode()
        return Target(self.origin, self.method, self.path, tuple(headers), head)

    def adding(self, lines: Iterable[tuple[str, str]]) -> Target:
        """The same destination with header lines of one call, such as ``traceparent``.

        Left out is what would not be exactly one line, what frames the request, and what the
        headers hold already: a trace is not worth a call, nor a bearer.
        """
        names = {name.lower() for name, _ in self.headers}
        good = [
            (name, value)
            for name, value in lines
            if _LINE_NAME.fullmatch(name)
            and _LINE_VALUE.fullmatch(value)
            and name.lower() not in names
            and name.lower() not in _FRAMING
        ]
        if not good:
            return self
        head = self.head + "".join(f"{name}: {value}\r\n" for name, value in good).encode("ascii")
        return Target(self.origin, self.method, self.path, (*self.headers, *good), head)

    def __repr__(self) -> str:
        return f"Target({self.method} {self.origin}{self.path})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a target holds a credential and is not pickled")


class Reply(NamedTuple):
    """One complete HTTP reply, decoded (gzip already undone).

    ``sent_s`` and ``first_byte_s`` are instants of the client's monotonic clock; ``connect_s`` is
    how long a new connection took, 0.0 on a reused one.
    """

    status: int
    headers: RawHeaders
    body: bytes
    sent_s: float
    first_byte_s: float
    connect_s: float

    def header(self, name: bytes) -> str | None:
        """The value of header ``name`` (lower case), repeats joined by ``", "``; None if absent."""
        found = [value for key, value in self.headers if key.lower() == name]
        return b", ".join(found).decode("latin-1") if found else None

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.body)} bytes)"  # of a login it holds the token


class FaultKind(Enum):
    """What went wrong below HTTP, in the terms the resend table needs."""

    NOT_CONNECTED = "not_connected"
    """Refusal or connect time-out: nothing was sent."""
    NO_NAME = "no_name"
    """The host name does not resolve: nothing was sent, and the host may be gone for good."""
    TLS = "tls"
    """Certificate or protocol refused: nothing was sent, and trying again cannot help."""
    STALE = "stale"
    """A reused connection closed before a single byte of the reply."""
    CUT_OFF = "cut_off"
    """The connection broke while sending, waiting or reading: the request may have run."""
    TIMEOUT = "timeout"
    """Connected and sent (or sending), but no complete reply in time."""
    UNREADABLE = "unreadable"
    """The reply breaks HTTP, or its encoding is one that was not offered."""
    CORRUPT = "corrupt"
    """The reply arrived whole, but its gzip does not decode: the request did run."""
    TOO_LARGE = "too_large"
    """The reply exceeds the size limit."""
    CLOSED = "closed"
    """The client was closed while the request was open."""


class WireFault(Exception):  # noqa: N818 - internal, and a fault is what it is
    """A request that got no complete reply. Raised by the wire, never seen by users.

    Attributes:
        kind: What happened.
        detail: Figures and the system's own words, without host secrets or payload.
        sent: Whether any byte of the request may have reached the server.
        host: Host name for the message.
    """

    def __init__(self, kind: FaultKind, detail: str, *, sent: Sent, host: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.sent = sent
        self.host = host


class Attempt(NamedTuple):
    """One try of a call.

    Attributes:
        status: HTTP status of the reply; None when no reply arrived.
        wait_s: Seconds waited before this try (0.0 for the first).
        cause: What went wrong, in a few words; None when it succeeded.
        duration_s: Seconds this try took, without the wait before it.
        request_id: Id the service gave the reply, if any.
    """

    status: int | None
    wait_s: float
    cause: str | None
    duration_s: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the seconds of one call went.

    Attributes:
        encode_s: Turning the input into bytes.
        queue_s: Waiting for a free connection, over all attempts.
        token_s: Waiting for a route, a token or the model's signature (0.0 when all were at hand).
        connect_s: Opening the connection of the last attempt (0.0 on a reused one).
        first_byte_s: From the end of sending to the first byte of the reply, last attempt: network
            there and back plus queue and model time on the server.
        decode_s: Turning the reply's bytes into values.
        backoff_s: Waiting between attempts.
        total_s: The whole call, as the caller saw it.
        preprocess_s: Running ``preprocess``; 0.0 where the client has none, like those below.
        enrich_s: Running ``enrich``, and what ``on_enrichment_error`` asked for.
        postprocess_s: Running ``postprocess``.
    """

    encode_s: float
    queue_s: float
    token_s: float
    connect_s: float
    first_byte_s: float
    decode_s: float
    backoff_s: float
    total_s: float
    preprocess_s: float = 0.0
    enrich_s: float = 0.0
    postprocess_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What the body of an error reply says, cut to 2 KB and redacted.

    Attributes:
        code: The service's error code as text (``"403"`` when it is an integer), or None.
        message: The service's words, or an excerpt of the body; may be empty.
        retry_after_s: Wait hint inside the body (foundation models), or None.
    """

    code: str | None
    message: str
    retry_after_s: float | None = None
