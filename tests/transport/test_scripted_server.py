"""The scripted server does what the other tests of this folder rely on."""

from __future__ import annotations

import socket
import ssl
import zlib

import pytest

from tests.scripted import bodies
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Blackhole,
    Hold,
    ScriptedServer,
    banner,
    chunked,
    drip_interim,
    echo,
    fin,
    plain_http,
    poison,
    predictions,
    refused_port,
    reply,
    reset_at_once,
    rst,
    send,
    stall,
    then_fin,
)

POST = b'POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{"id": "a1"}'


def connect(server: ScriptedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 5)


def ask(sock: socket.socket, size: int) -> bytes:
    sock.sendall(POST)
    data = b""
    while len(data) < size and (piece := sock.recv(65536)):
        data += piece
    return data


def test_it_answers_and_counts_what_it_processed():
    expected = reply(b'{"predictions": ["a1"]}')
    with ScriptedServer(echo()) as server, connect(server) as sock:
        assert ask(sock, len(expected)) == expected
        assert ask(sock, len(expected)) == expected
        assert server.processed == {"a1": 2}
        assert [r.index for r in server.requests] == [0, 1]
        assert server.received_bytes == 2 * len(POST)
        assert len(server.connections) == server.open_connections == 1


def test_a_list_of_answers_is_taken_request_by_request():
    with ScriptedServer([reply(b"1"), reply(b"2")]) as server, connect(server) as sock:
        replies = [ask(sock, len(reply(b"1"))) for _ in range(3)]
    assert replies == [reply(b"1"), reply(b"2"), reply(b"2")]


def test_fin_and_reset_are_told_apart():
    with ScriptedServer([fin(), rst()]) as server:
        with connect(server) as sock:
            assert ask(sock, 1) == b""
        with connect(server) as sock, pytest.raises(ConnectionResetError):
            ask(sock, 1)
        assert server.processed["a1"] == 2


def test_a_fin_comes_after_the_whole_reply():
    with ScriptedServer(then_fin(reply())) as server, connect(server) as sock:
        assert ask(sock, 1 << 20) == reply()


def test_a_stalled_request_ends_with_its_client():
    with ScriptedServer(stall()) as server:
        with connect(server) as sock:
            sock.sendall(POST)
            server.wait_until(lambda: server.processed["a1"] == 1)
        server.wait_until(lambda: server.open_connections == 0)


def test_a_held_request_goes_on_when_released():
    hold = Hold(echo())
    with ScriptedServer(hold) as server, connect(server) as sock:
        sock.sendall(POST)
        server.wait_until(lambda: hold.waiting == 1)
        assert not server.processed
        hold.release()
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_interim_replies_come_before_the_reply():
    with ScriptedServer(drip_interim(0.001, count=3)) as server, connect(server) as sock:
        data = ask(sock, 3 * 40 + len(reply()))
    assert data.count(b" 103 ") == 3
    assert data.endswith(reply())


def test_poison_follows_the_reply():
    with ScriptedServer(poison()) as server, connect(server) as sock:
        data = ask(sock, 2 * len(reply()))
    assert data.index(b"a1") < data.index(b"POISON")


def test_a_connection_can_be_reset_before_anything_is_read():
    with ScriptedServer(greeting=reset_at_once) as server:
        with pytest.raises(ConnectionError), connect(server) as sock:
            ask(sock, 1)
        assert not server.requests


def test_tls_and_its_faults(authority: Authority):
    cases = {
        "good": (authority.good(), ""),
        "expired": (authority.expired(), "expired"),
        "wrong host": (authority.wrong_host(), "mismatch"),
        "untrusted": (authority.untrusted(), "unable to get local issuer"),
        "self-signed": (authority.self_signed(), "self-signed"),
        "TLS 1.1": (authority.tls_1_1_only(), "(?i)protocol|version"),
    }
    for name, (context, said) in cases.items():
        with ScriptedServer(echo(), tls=context) as server, connect(server) as raw:
            if name == "good":
                with authority.client().wrap_socket(raw, server_hostname="localhost") as sock:
                    assert ask(sock, 10).startswith(b"HTTP/1.1 200")
                continue
            with pytest.raises(ssl.SSLError, match=said):
                authority.client().wrap_socket(raw, server_hostname="localhost")
            assert len(server.connections) == 1


def test_other_protocols_on_the_tls_port(authority: Authority):
    for speak in (banner, plain_http(b"HTTP/1.1 400 Bad Request\r\n\r\n")):
        with (
            ScriptedServer(tls=authority.good(), before_tls=speak) as server,
            connect(server) as raw,
            pytest.raises(ssl.SSLError),
        ):
            authority.client().wrap_socket(raw, server_hostname="localhost")


def test_refused_and_black_hole():
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refused_port()), 1)
    with Blackhole() as hole, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", hole.port), 0.2)


def test_bodies_are_what_they_say():
    bomb = bodies.bomb(4).partition(b"\r\n\r\n")[2]
    assert len(bomb) < 5000
    assert zlib.decompressobj(-15).decompress(bomb[10:-8]) == bytes(4 << 20)
    assert chunked(b"abcdefghi").startswith(b"7\r\nabcdefg\r\n2\r\nhi\r\n0\r\n")
    assert send(b"") is not None
    assert predictions.__name__
