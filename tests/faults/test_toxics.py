"""Each toxic on a raw socket: what the client's side of the connection sees."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.raw import connected, hear, request
from tests.faults.rules import always, every, nothing
from tests.faults.toxics import (
    Bandwidth,
    Blackhole,
    CutBody,
    Drip1xx,
    DripBody,
    DripHead,
    FinAfter,
    HalfOpen,
    IdleClose,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)
from tests.scripted.server import ScriptedServer, echo, reply, then_fin

REPLY = reply(b'{"predictions": ["abc"]}')
HEAD = REPLY.index(b"\r\n\r\n") + 4
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
QUIET_S = 0.2


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Answers each request with its id."""
    with ScriptedServer(echo()) as server:
        yield server


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[FaultProxy]:
    """In front of it."""
    with FaultProxy(server.port) as proxy:
        yield proxy


def asked(proxy: FaultProxy, **options):
    """What comes of one request on a connection of its own."""
    with connected(proxy.port) as sock:
        since_s = time.monotonic()
        sock.sendall(request("abc"))
        return hear(sock, since_s=since_s, **options)


def test_nothing_is_wrong_by_itself(proxy: FaultProxy, server: ScriptedServer) -> None:
    with connected(proxy.port) as sock:
        for _ in range(3):
            sock.sendall(request("abc"))
            assert hear(sock, size=len(REPLY)).data == REPLY
    assert server.processed == {"abc": 3}
    proxy.wait_until(lambda: proxy.open_connections == 0)
    (count,) = proxy.counts
    assert (count.requests, count.replies, count.closed) == (3, 3, "client")
    assert (count.up_bytes, count.down_bytes) == (3 * len(request("abc")), 3 * len(REPLY))


def test_latency_delays_the_reply(proxy: FaultProxy) -> None:
    proxy.use(always(Latency(0.2)))
    heard = asked(proxy, size=len(REPLY))
    assert heard.data == REPLY
    assert heard.at_s[0] >= 0.2


def test_latency_varies_by_its_jitter(proxy: FaultProxy) -> None:
    proxy.use(always(Latency(0.03, jitter_s=0.03)))
    delays = [asked(proxy, size=len(REPLY)).at_s[0] for _ in range(10)]
    assert max(delays) - min(delays) > 0.01


def test_bandwidth_bounds_both_directions(proxy: FaultProxy, server: ScriptedServer) -> None:
    proxy.use(always(Bandwidth(100_000.0)))
    with connected(proxy.port) as sock:
        start_s = time.monotonic()
        sock.sendall(request("abc", padding=30_000))
        assert hear(sock, size=len(REPLY)).data == REPLY
        assert time.monotonic() - start_s >= 0.29
    server.answers = reply(b"x" * 30_000)
    assert asked(proxy, size=30_000).at_s[-1] >= 0.29


def test_bandwidth_is_felt_by_who_writes(proxy: FaultProxy) -> None:
    # the proxy does not take megabytes into its memory behind the client's back
    proxy.use(always(Bandwidth(10_000.0)))
    with connected(proxy.port) as sock:
        sock.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            sock.sendall(b"POST / HTTP/1.1\r\ncontent-length: 30000000\r\n\r\n" + b"x" * 30_000_000)
    assert proxy.counts[0].up_bytes < 1_000_000


def test_slow_close_keeps_the_client_from_seeing_the_end(
    proxy: FaultProxy, server: ScriptedServer
) -> None:
    server.answers = then_fin(echo())
    assert asked(proxy).end == "fin"
    proxy.use(always(SlowClose(2.0)))
    assert asked(proxy, silence_s=QUIET_S).end == "silence"


def test_timeout_stops_all_data_and_closes_later(proxy: FaultProxy, server: ScriptedServer) -> None:
    proxy.use(always(Timeout(0.15)))
    heard = asked(proxy)
    assert (heard.data, heard.end) == (b"", "fin")
    proxy.use(always(Timeout()))
    assert asked(proxy, silence_s=QUIET_S).end == "silence"
    assert server.requests == []


def test_reset_peer(proxy: FaultProxy) -> None:
    proxy.use(
        always(ResetPeer(0.05))
    )  # at once can be before the client knows that it is connected
    with connected(proxy.port) as sock:
        assert hear(sock).end == "rst"
    proxy.use(nothing)
    with connected(proxy.port) as sock:  # one that is open gets it after its next byte
        sock.sendall(request("abc"))
        assert hear(sock, size=len(REPLY)).data == REPLY
        proxy.use(always(ResetPeer()))
        sock.sendall(b"P")
        assert hear(sock).end == "rst"
    assert [count.closed for count in proxy.counts] == ["rst", "rst"]


def test_slicer_sends_in_pieces(proxy: FaultProxy) -> None:
    proxy.use(always(Slicer(size=10, delay_s=0.01)))
    heard = asked(proxy, size=len(REPLY))
    assert heard.data == REPLY
    assert heard.at_s[-1] >= 0.01 * (len(REPLY) // 10 - 1)


def test_limit_data_closes_after_so_many_bytes(proxy: FaultProxy) -> None:
    size = len(REPLY) + 20
    proxy.use(always(LimitData(size)))
    with connected(proxy.port) as sock:
        sock.sendall(request("abc"))
        assert hear(sock, size=len(REPLY)).data == REPLY
        sock.sendall(request("abc"))
        heard = hear(sock)
        assert (heard.data, heard.end) == (REPLY[:20], "fin")
    proxy.wait_until(lambda: not proxy.counts[0].open)
    assert proxy.counts[0].replies == 1, "the second one was not passed on whole"


def test_limit_data_on_a_connection_that_is_past_it(proxy: FaultProxy) -> None:
    with connected(proxy.port) as sock:
        sock.sendall(request("abc"))
        assert hear(sock, size=len(REPLY)).data == REPLY
        proxy.use(always(LimitData(10)))
        sock.sendall(request("abc"))
        assert hear(sock).data == b""


def test_blackhole_swallows_and_lets_through_again(
    proxy: FaultProxy, server: ScriptedServer
) -> None:
    with connected(proxy.port) as sock:
        proxy.use(always(Blackhole()))
        sock.sendall(request("abc"))
        assert hear(sock, silence_s=QUIET_S).end == "silence"
        assert server.requests == []
        proxy.use(always(Blackhole("down")))
        sock.sendall(request("abc"))
        server.wait_until(lambda: server.processed == {"abc": 1})  # and nobody learns of it
        assert hear(sock, silence_s=QUIET_S).end == "silence"
        proxy.use(nothing)
        sock.sendall(request("abc"))
        assert hear(sock, size=len(REPLY)).data == REPLY
    assert proxy.requests == 3


def test_half_open_is_dead_for_good(proxy: FaultProxy, server: ScriptedServer) -> None:
    with connected(proxy.port) as sock:
        proxy.use(always(HalfOpen()))
        sock.sendall(request("abc"))
        proxy.wait_until(lambda: proxy.requests == 1)
        assert hear(sock, silence_s=QUIET_S).end == "silence"
        proxy.use(nothing)
        sock.sendall(request("abc"))
        assert hear(sock, silence_s=QUIET_S).end == "silence"
    assert server.requests == []
    assert asked(proxy, size=len(REPLY)).data == REPLY


def test_fin_after_replies(proxy: FaultProxy) -> None:
    proxy.use(always(FinAfter(2)))
    with connected(proxy.port) as sock:
        sock.sendall(request("abc"))
        assert hear(sock, size=len(REPLY)).data == REPLY
        sock.sendall(request("abc"))
        heard = hear(sock)
        assert (heard.data, heard.end) == (REPLY, "fin")


def test_idle_close_waits_for_silence(proxy: FaultProxy) -> None:
    proxy.use(always(IdleClose(0.8)))
    with connected(proxy.port) as sock:
        for _ in range(3):  # each request begins the time anew
            sock.sendall(request("abc"))
            assert hear(sock, size=len(REPLY)).data == REPLY
            assert hear(sock, silence_s=0.3).end == "silence"
        assert hear(sock).end == "fin"


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_cut_body_in_the_middle(proxy: FaultProxy, how) -> None:
    proxy.use(every(2, CutBody(how)))
    assert asked(proxy, size=len(REPLY)).data == REPLY
    heard = asked(proxy)
    assert heard.end == how
    assert heard.data in (b"", REPLY[: HEAD + 12]), "a reset may take with it what was not read"
    assert asked(proxy, size=len(REPLY)).data == REPLY


def test_drip_body_byte_by_byte(proxy: FaultProxy) -> None:
    proxy.use(always(DripBody(0.01)))
    heard = asked(proxy, size=len(REPLY))
    assert heard.data == REPLY
    assert heard.at_s[-1] >= 0.01 * (len(REPLY) - HEAD - 1)


def test_drip_head_byte_by_byte(proxy: FaultProxy) -> None:
    proxy.use(always(DripHead(0.005)))
    heard = asked(proxy, size=len(REPLY))
    assert heard.data == REPLY
    assert heard.at_s[-1] >= 0.005 * (HEAD - 1)


def test_drip_1xx_before_the_reply(proxy: FaultProxy) -> None:
    proxy.use(always(Drip1xx(0.02, count=5)))
    heard = asked(proxy, size=5 * len(HINTS) + len(REPLY))
    assert heard.data == 5 * HINTS + REPLY
    assert heard.at_s[-1] >= 0.1
    proxy.wait_until(lambda: proxy.counts[0].replies == 1)


def test_a_stop_ends_what_hangs(server: ScriptedServer) -> None:
    with FaultProxy(server.port, always(Timeout())) as proxy:
        sock = connected(proxy.port)
        sock.sendall(request("abc"))
        proxy.wait_until(lambda: proxy.requests == 1)
    with sock:
        assert hear(sock).end == "rst"
