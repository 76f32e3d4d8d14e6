"""The hold on one httpx exchange, without sockets: when it may pull, and when it must not."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from servingclient.transport.httpx_lifeline import Lifeline, Watchdog
from tests.scripted.server import eventually, eventually_async
from tests.stopwatch import Stopwatch


class Stream:
    """What httpcore calls a network stream."""

    def __init__(self, sock: Any = None) -> None:
        self.sock = sock
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.sock

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(2)
    yield ours, theirs
    ours.close()
    theirs.close()


def connected(line: Lifeline, sock: Any, layer: str = "http11") -> None:
    line.trace("connection.connect_tcp.started", {})
    line.trace("connection.connect_tcp.complete", {"return_value": Stream(sock)})
    line.trace(f"{layer}.send_request_headers.started", {})


def is_shut(theirs: socket.socket) -> bool:
    theirs.setblocking(False)
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_running_exchange_is_ended_once(pair):
    line = Lifeline()
    connected(line, pair[0])
    line.end("deadline")
    line.end("closed")
    assert line.ended_by == "deadline"
    assert is_shut(pair[1])


def test_an_exchange_that_is_over_is_left_alone(pair):
    line = Lifeline()
    connected(line, pair[0])
    line.over()
    line.end("deadline")
    assert line.ended_by is None
    assert not is_shut(pair[1])


def test_one_ended_while_connecting_is_ended_when_connected(pair):
    line = Lifeline()
    line.trace("connection.connect_tcp.started", {})
    line.end("deadline")
    line.trace("connection.connect_tcp.complete", {"return_value": Stream(pair[0])})
    assert is_shut(pair[1])
    with pytest.raises(ConnectionAbortedError):
        line.trace("http11.send_request_headers.started", {})


@pytest.mark.parametrize("why", ["deadline", "abandoned", "closed"])
def test_a_connection_shared_over_http_2_is_ended_only_at_close(pair, why: Any):
    line = Lifeline()
    connected(line, pair[0], layer="http2")
    line.end(why)
    assert is_shut(pair[1]) == (why == "closed")


def test_what_is_known_of_sending():
    class Pool:
        _requests = ()

    line = Lifeline(Pool())
    assert line.certainly_unsent
    assert not line.reused
    line.trace("http11.send_request_headers.started", {})
    assert not line.certainly_unsent
    assert line.reused
    assert not Lifeline().certainly_unsent  # a mock reports nothing


def test_a_reused_connection_is_found_only_once_it_is_ours(pair):
    """Before sending, several requests may be promised the same connection."""

    class Entry:
        class connection:  # noqa: N801 - stands for an attribute
            _connection = None
            _network_stream = Stream(pair[0])

    class Pool:
        _requests = (Entry,)

    line = Lifeline(Pool())
    Entry.request = type("Request", (), {"extensions": line.extensions})
    line.end("abandoned")
    assert not is_shut(pair[1])

    line = Lifeline(Pool())
    Entry.request.extensions = line.extensions
    line.trace("http11.send_request_headers.started", {})
    line.end("abandoned")
    assert is_shut(pair[1])


def test_an_exchange_nobody_knows_the_socket_of_is_only_marked():
    line = Lifeline()
    line.end("deadline")
    assert line.ended_by == "deadline"


async def test_a_socket_that_cannot_be_shut_down_is_closed_instead():
    class UvloopSocket:
        def shutdown(self, how: int) -> None:
            raise TypeError("transport sockets do not support shutdown()")

    stream = Stream(UvloopSocket())
    line = Lifeline()
    await line.trace_async("connection.connect_tcp.complete", {"return_value": stream})
    line.end("abandoned")
    assert await eventually_async(lambda: stream.closed)


def test_the_watchdog_ends_what_is_late_and_nothing_else(pair):
    dog = Watchdog()
    late, done, later = Lifeline(), Lifeline(), Lifeline()
    connected(late, pair[0])
    with Stopwatch() as watch:
        now_s = time.monotonic()
        dog.watch(later, now_s + 60)
        dog.watch(done, now_s + 0.3)
        dog.unwatch(done)
        dog.watch(late, now_s + 0.4)
        assert eventually(lambda: late.ended_by == "deadline")
    assert watch.elapsed_s > 0.39
    assert watch.took_s < 0.6
    assert (done.ended_by, later.ended_by) == (None, None)
    dog.stop()


def test_the_watchdog_s_thread_ends_soon_after_the_calls():
    def threads() -> int:
        return sum(t.name == "servingclient-deadlines" for t in threading.enumerate())

    dog = Watchdog()
    line = Lifeline()
    for _ in range(3):
        dog.watch(line, time.monotonic() + 60)
        assert threads() == 1
        dog.unwatch(line)
    assert eventually(lambda: threads() == 0, 2)
    dog.watch(line, time.monotonic() + 60)
    assert threads() == 1
    dog.stop()
    assert threads() == 0
    dog.stop()
