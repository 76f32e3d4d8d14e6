"""A client of bare sockets: it sends exactly what a test says and shows exactly what came back."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools

from servingclient.emulator import Emulator

TWO_ROWS = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5], [3, 4]]}}
TWO_SUMS = {"predictions": [3.5, 7.0]}
WITHIN_S = 5.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json()["message"]


class _Reading:
    """httptools callbacks that collect one final reply."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.headers, self.body, self.complete = {}, b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.parser.get_status_code() >= 200


class Peer:
    """One connection to a host of the emulator."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), WITHIN_S)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca_file)
            self.sock = context.wrap_socket(self.sock, server_hostname=parts.hostname)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self) -> Answer:
        """Read one reply; EOFError when the server closes before its end."""
        reading = _Reading()
        while not reading.complete:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            reading.parser.feed_data(data)
        return Answer(reading.parser.get_status_code(), reading.headers, reading.body)

    def rest(self) -> bytes:
        """Read until the server closes."""
        got = b""
        while data := self.sock.recv(65536):
            got += data
        return got

    def closed(self) -> bool:
        """Wait for FIN; anything else that arrives is a failure."""
        return self.rest() == b""

    def close(self) -> None:
        self.sock.close()


@contextmanager
def connected(emu: Emulator, url: str | None = None) -> Iterator[Peer]:
    peer = Peer(url or emu.host, emu.ca_file)
    try:
        yield peer
    finally:
        peer.close()


def post(
    emu: Emulator,
    name: str = "demo",
    value: Any = TWO_ROWS,
    *,
    path: str | None = None,
    token: str | None = None,
    **headers: str | None,
) -> bytes:
    """The bytes of one invocation; a header of None is left out."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    sent = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {emu.token if token is None else token}",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    sent |= {key.replace("_", "-"): text for key, text in headers.items()}
    target = path or f"/serving-endpoints/{name}/invocations"
    lines = [f"{key}: {text}\r\n" for key, text in sent.items() if text is not None]
    return f"POST {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def get(path: str, token: str | None = None) -> bytes:
    auth = "" if token is None else f"authorization: Bearer {token}\r\n"
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{auth}\r\n".encode()


def call(emu: Emulator, name: str = "demo", value: Any = TWO_ROWS, **more: Any) -> Answer:
    """One invocation on a connection of its own, on the workspace host unless `url` says else."""
    url = more.pop("url", None)
    if url is not None:
        more["path"] = urlsplit(url).path
    with connected(emu, url) as peer:
        peer.send(post(emu, name, value, **more))
        return peer.answer()


def read(emu: Emulator, path: str, token: str | None = None) -> Answer:
    with connected(emu) as peer:
        peer.send(get(path, token))
        return peer.answer()


def token_request(emu: Emulator, **form: str) -> Answer:
    """A token request as the service principal, unless the form says else."""
    from base64 import b64encode
    from urllib.parse import urlencode

    fields = {"grant_type": "client_credentials", "scope": "all-apis", **form}
    basic = b64encode(f"{emu.client_id}:{emu.client_secret}".encode()).decode()
    with connected(emu) as peer:
        peer.send(
            post(
                emu,
                path="/oidc/v1/token",
                value=urlencode(fields).encode(),
                content_type="application/x-www-form-urlencoded",
                authorization=f"Basic {basic}",
            )
        )
        return peer.answer()


def token_for(emu: Emulator, name: str) -> str:
    """A token for one route-optimized endpoint."""
    details = emu.authorization_details(name)
    return token_request(emu, authorization_details=details).json()["access_token"]


def call_fast(emu: Emulator, name: str = "demo-fast", **more: Any) -> Answer:
    """One invocation of a route-optimized endpoint where it lives, with a token of its own."""
    more.setdefault("token", None)
    if more["token"] is None:
        more["token"] = token_for(emu, name)
    return call(emu, name, url=emu.endpoint_url(name), **more)
