"""Streamed replies: the part of the story behind the head, and what the doors hand out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final, cast

from servingclient import _explain
from servingclient._ports import StreamedReply, World
from servingclient._prediction import request_id
from servingclient._step import iterate, run
from servingclient._types import Attempt, RawHeaders, WireFault
from servingclient._watching import CallEnded, Span, tell
from servingclient.errors import StreamError
from servingclient.payload.sse import SseParser, event_value

_OK: Final = 200


class OpenStream:
    """A stream under way: the events of one reply. Holds a place and a connection until closed.

    Attributes:
        headers: Header lines of the reply.
        attempts: The tries it took to open, the good one last.
    """

    __slots__ = (
        "_endpoint",
        "_error",
        "_queue_s",
        "_reply",
        "_reply_bytes",
        "_request_bytes",
        "_secrets",
        "_span",
        "_started_s",
        "_world",
        "attempts",
        "headers",
    )

    def __init__(
        self,
        endpoint: str,
        world: World,
        started_s: float,
        queue_s: float,
        request_bytes: int,
        attempts: tuple[Attempt, ...],
        secrets: tuple[str, ...],
        reply: StreamedReply,
        span: Span | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._world = world
        self._started_s = started_s
        self._queue_s = queue_s
        self._request_bytes = request_bytes
        self._reply_bytes = 0
        self._error: str | None = None
        self._span = span
        self._secrets = secrets
        self._reply: StreamedReply | None = reply
        self.attempts: tuple[Attempt, ...] = attempts
        self.headers: RawHeaders = reply.headers

    async def events(self) -> AsyncGenerator[object, None]:
        """``None`` once begun, then the decoded ``data:`` of each event, up to ``[DONE]``.

        The first step waits for nothing. From it on an event loop knows the generator and ends it
        when nobody holds it any more: a stream that is never read gives its place back, too.

        Raises:
            StreamError: The stream broke, stalled, or holds an error event. What was yielded
                before stands; nothing is sent again after the first piece.
        """
        reply = self._reply
        if reply is None:
            return
        parser = SseParser()
        pieces = reply.chunks()
        try:
            yield None
            async for piece in pieces:
                self._reply_bytes += len(piece)
                for event in parser.feed(piece):
                    yield event_value(event, self._secrets)
                if parser.done:
                    return
            parser.finish()
        except WireFault as fault:
            text = _explain.stream_text(fault, self._endpoint, self._world.now() - self._started_s)
            raise self._broken(StreamError(text)) from None
        except StreamError as error:
            raise self._broken(error) from None
        finally:
            try:
                await pieces.aclose()
            finally:
                await self.aclose()

    def _broken(self, error: StreamError) -> StreamError:
        self._error = type(error).__name__
        error.endpoint = self._endpoint
        error.attempts = self.attempts
        error.elapsed_s = self._world.now() - self._started_s
        error.request_id = request_id(self.headers)
        error.sent = "yes"
        error.status_code = _OK
        if self._span is not None:
            self._span.ended(self.attempts, error)
        return error

    async def aclose(self) -> None:
        """Give place and connection back. May be called again."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        world = self._world
        try:
            await reply.aclose()
        finally:
            world.gate.leave()
            if self._span is not None:
                self._span.ended(self.attempts)
            now_s = world.now()
            took_s = now_s - self._started_s
            world.recorder.note(now_s, "failed" if self._error else "stream", self._error, took_s)
            tell(
                world.observers,
                CallEnded(
                    self._endpoint,
                    _OK,
                    self._error,
                    took_s,
                    self._queue_s,
                    len(self.attempts),
                    self._request_bytes,
                    self._reply_bytes,
                    streamed=True,
                ),
            )


class Stream(Iterator[Any]):
    """The events of a streamed reply, decoded, as they arrive.

    Iterate it, best inside ``with``: that gives the connection back whatever happens. It is also
    given back at the end of the stream, on an error, and when the object goes out of use.

    Yields:
        The JSON value of each event's data.

    Raises:
        StreamError: While iterating: the stream broke or stalled. Nothing is sent again then.
    """

    def __init__(self, opened: OpenStream) -> None:
        self._opened = opened
        self._events = iterate(opened.events())
        next(self._events)

    @property
    def request_id(self) -> str | None:
        """Id the service gave the reply."""
        return request_id(self._opened.headers)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The tries it took to open."""
        return self._opened.attempts

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._events)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and give the connection back."""
        events = cast("GeneratorType[object, None, None]", self._events)
        if not events.gi_running:  # another thread reads: it ends with its next piece
            events.close()
        run(self._opened.aclose())

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Stream(request_id={self.request_id!r}, attempts={len(self.attempts)})"


class AsyncStream(AsyncIterator[Any]):
    """The events of a streamed reply, decoded, as they arrive.

    The request is sent when it is first used: entered, iterated or awaited. Iterate it, best inside
    ``async with``: that gives the connection back whatever happens. It is also given back at the
    end of the stream, on an error, and when the object goes out of use.

    Yields:
        The JSON value of each event's data.

    Raises:
        StreamError: While iterating: the stream broke or stalled. Nothing is sent again then.
        ServingError: When first used: as for ``predict``.
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, OpenStream]]) -> None:
        self._begin: Callable[[], Coroutine[Any, Any, OpenStream]] | None = begin
        self._opened: OpenStream | None = None
        self._events: AsyncGenerator[object, None] | None = None
        self._opening = False
        self._closed = False

    async def _begun(self) -> None:
        begin, self._begin = self._begin, None
        if begin is None:
            if self._opening:
                raise RuntimeError("another task is opening this stream; read it from one task")
            return
        self._opening = True
        try:
            opened = await begin()
        finally:
            self._opening = False
        self._opened = opened
        self._events = opened.events()
        run(self._events.__anext__())
        if self._closed:  # closed by another task meanwhile
            await self.aclose()

    @property
    def request_id(self) -> str | None:
        """Id the service gave the reply; None before it began."""
        return None if self._opened is None else request_id(self._opened.headers)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The tries it took to open."""
        return () if self._opened is None else self._opened.attempts

    def __await__(self) -> Generator[Any, Any, AsyncStream]:
        yield from self._begun().__await__()
        return self

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        await self._begun()
        if self._events is None:
            raise StopAsyncIteration
        return await self._events.__anext__()

    async def __aenter__(self) -> AsyncStream:
        await self._begun()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and give the connection back."""
        self._begin = None
        self._closed = True
        events = cast("AsyncGeneratorType[object, None] | None", self._events)
        if events is not None and not events.ag_running:
            # were another task reading, its connection would end under it just below
            await events.aclose()
        if self._opened is not None:
            await self._opened.aclose()

    def __repr__(self) -> str:
        return f"AsyncStream(request_id={self.request_id!r}, attempts={len(self.attempts)})"
