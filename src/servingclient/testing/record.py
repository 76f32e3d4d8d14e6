"""Transports that record what passes through them, for ``replay`` to give out again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from servingclient.testing.tape import FORMAT, Exchange, reply_headers, reply_text, request_text
from servingclient.transport.httpx_lanes import AsyncLaneTransport, LaneTransport


class _Tape:
    """The file being written."""

    def __init__(self, path: str | os.PathLike[str], *, payloads: bool) -> None:
        self._payloads = payloads
        self._lock = threading.Lock()
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._write(json.dumps({"servingclient_tape": FORMAT, "payloads": payloads}))

    def _write(self, line: str) -> None:
        with self._lock:
            if not self._file.closed:
                self._file.write(f"{line}\n")
                self._file.flush()

    def answered(
        self,
        request: httpx.Request,
        content: bytes,
        response: httpx.Response,
        pieces: list[bytes],
        *,
        complete: bool,
    ) -> None:
        """Keep an exchange that had a reply."""
        url = _plain(request.url)
        secrets = _secrets(request)
        headers = response.headers
        body = _decoded(headers, b"".join(pieces))
        self._write(
            Exchange(
                request.method,
                url,
                request_text(url, content, payloads=self._payloads),
                response.status_code,
                reply_headers(headers.multi_items()),
                reply_text(url, response.status_code, body, secrets, payloads=self._payloads),
                complete=complete,
            ).line()
        )

    def failed(self, request: httpx.Request, content: bytes, error: httpx.TransportError) -> None:
        """Keep an exchange that had none."""
        url = _plain(request.url)
        sent = request_text(url, content, payloads=self._payloads)
        self._write(Exchange(request.method, url, sent, error=type(error).__name__).line())

    def close(self) -> None:
        with self._lock:
            self._file.close()


class _Heard:
    """What has come of a reply, until it is closed."""

    def __init__(
        self, tape: _Tape, request: httpx.Request, content: bytes, response: httpx.Response
    ) -> None:
        self._tape = tape
        self._told = (request, content, response)
        self._written = False
        self.pieces: list[bytes] = []
        self.complete = False

    def write(self) -> None:
        """Put it on the tape, once."""
        if not self._written:
            self._written = True
            self._tape.answered(*self._told, self.pieces, complete=self.complete)


class RecordingTransport(httpx.BaseTransport):
    """Sends over another transport and writes each exchange to a file, without credentials.

    Connections that fail count as of unknown effect here, as behind any transport of one's own.

    Args:
        path: Where to; a file that is there is replaced.
        transport: What sends; None makes lanes. It is closed with this one.
        payloads: Whether inputs and predictions are kept. False keeps their shape alone, and of
            error replies what the library's own errors tell.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transport: httpx.BaseTransport | None = None,
        *,
        payloads: bool = True,
    ) -> None:
        self._tape = _Tape(path, payloads=payloads)
        self._transport = LaneTransport() if transport is None else transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; it is written when its reply has been read or closed."""
        content = request.read()
        try:
            response = self._transport.handle_request(request)
        except httpx.TransportError as error:
            self._tape.failed(request, content, error)
            raise
        heard = _Heard(self._tape, request, content, response)
        return _like(response, _Body(heard, response.stream))

    def close(self) -> None:
        """Close the file and the transport below."""
        self._transport.close()
        self._tape.close()


class _Body(httpx.SyncByteStream):
    """Passes a reply's body on."""

    def __init__(self, heard: _Heard, stream: object) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._heard = heard
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._heard.pieces.append(piece)
            yield piece
        self._heard.complete = True

    def close(self) -> None:
        self._stream.close()
        self._heard.write()


class AsyncRecordingTransport(httpx.AsyncBaseTransport):
    """:class:`RecordingTransport` for asyncio; with the same arguments.

    Args:
        path: Where to; a file that is there is replaced.
        transport: What sends; None makes lanes. It is closed with this one.
        payloads: Whether inputs and predictions are kept.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        payloads: bool = True,
    ) -> None:
        self._tape = _Tape(path, payloads=payloads)
        self._transport = AsyncLaneTransport() if transport is None else transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; it is written when its reply has been read or closed."""
        content = await request.aread()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            self._tape.failed(request, content, error)
            raise
        heard = _Heard(self._tape, request, content, response)
        return _like(response, _AsyncBody(heard, response.stream))

    async def aclose(self) -> None:
        """Close the file and the transport below."""
        await self._transport.aclose()
        self._tape.close()


class _AsyncBody(httpx.AsyncByteStream):
    """Passes a reply's body on."""

    def __init__(self, heard: _Heard, stream: object) -> None:
        assert isinstance(stream, httpx.AsyncByteStream)
        self._heard = heard
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._heard.pieces.append(piece)
            yield piece
        self._heard.complete = True

    async def aclose(self) -> None:
        await self._stream.aclose()
        self._heard.write()


def _like(
    response: httpx.Response, stream: httpx.SyncByteStream | httpx.AsyncByteStream
) -> httpx.Response:
    return httpx.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=stream,
        extensions=response.extensions,
    )


def _plain(url: httpx.URL) -> str:
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _secrets(request: httpx.Request) -> tuple[str, ...]:
    """What was sent as a credential, which a reply may echo."""
    sent = request.headers.get("authorization", "")
    return tuple(text for text in (sent, sent.partition(" ")[2]) if text)


def _decoded(headers: httpx.Headers, raw: bytes) -> bytes:
    coding = headers.get("content-encoding")
    if not coding:
        return raw
    try:
        return httpx.Response(200, headers={"content-encoding": coding}, content=raw).content
    except httpx.DecodingError:
        return raw
