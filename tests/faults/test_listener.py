"""What befalls the port, and all connections at once."""

from __future__ import annotations

import socket

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.raw import connected, hear, request
from tests.scripted.server import ScriptedServer, echo, reply

REPLY = reply(b'{"predictions": ["abc"]}')


def asked(sock: socket.socket, silence_s: float = 5.0) -> bytes:
    sock.sendall(request("abc"))
    return hear(sock, size=len(REPLY), silence_s=silence_s).data


def test_a_port_that_refuses_and_comes_back() -> None:
    with (
        ScriptedServer(echo()) as server,
        FaultProxy(server.port) as proxy,
        connected(proxy.port) as open_before,
    ):
        assert asked(open_before) == REPLY
        for _ in range(3):
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                connected(proxy.port)
            assert asked(open_before) == REPLY, "connections that are open stay"
            proxy.listen()
            with connected(proxy.port) as sock:
                assert asked(sock) == REPLY


def test_a_port_that_drops_syns_and_comes_back() -> None:
    with ScriptedServer(echo()) as server, FaultProxy(server.port) as proxy:
        for _ in range(2):
            proxy.drop_syns()
            with pytest.raises(TimeoutError):
                socket.create_connection(("127.0.0.1", proxy.port), 0.2)
            proxy.listen()
            with connected(proxy.port) as sock:
                assert asked(sock) == REPLY


def test_cut_resets_all_and_freeze_tells_nobody() -> None:
    with ScriptedServer(echo()) as server, FaultProxy(server.port) as proxy:
        with connected(proxy.port) as one, connected(proxy.port) as two:
            assert [asked(one), asked(two)] == [REPLY, REPLY]
            proxy.cut()
            assert [hear(one).end, hear(two).end] == ["rst", "rst"]
        with connected(proxy.port) as one, connected(proxy.port) as two:
            assert [asked(one), asked(two)] == [REPLY, REPLY]
            proxy.freeze()
            assert [asked(one, 0.2), asked(two, 0.2)] == [b"", b""]
            with connected(proxy.port) as three:
                assert asked(three) == REPLY
        assert [count.open for count in proxy.counts[2:4]] == [True, True], "not even a FIN is seen"


def test_an_upstream_that_is_gone_closes_the_connection() -> None:
    with ScriptedServer(echo()) as server:
        port = server.port
    with FaultProxy(port) as proxy, connected(proxy.port) as sock:
        assert hear(sock).end == "fin"
