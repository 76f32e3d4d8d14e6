"""How connections live and end, and how large a request may be."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time

import pytest

from servingclient.emulator import Emulator
from tests.emulator.peer import TWO_ROWS, TWO_SUMS, call, call_fast, connected, get, post


def sized(bytes_in_all: int) -> bytes:
    """A valid body of exactly this size."""
    head, tail = b'{"client_request_id": "big", "inputs": [1], "pad": "', b'"}'
    return head + b"x" * (bytes_in_all - len(head) - len(tail)) + tail


def test_a_connection_serves_many_requests(emu: Emulator) -> None:
    with connected(emu) as peer:
        for _ in range(5):
            peer.send(post(emu))
            assert peer.answer().json() == TWO_SUMS
    assert emu.connections["workspace"] == 1
    assert {record.connection_id for record in emu.requests} == {1}


def test_connections_are_counted_by_host(emu: Emulator) -> None:
    call(emu)
    call(emu)
    call_fast(emu)
    assert emu.connections == {"workspace": 3, "serving": 1}


def test_open_connections_are_known(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(post(emu))
        peer.answer()
        assert emu.open_connections == {"workspace": 1, "serving": 0, "external": 0}
    assert emu.wait_for(lambda: emu.open_connections["workspace"] == 0)


def test_failed_handshakes_count_as_connections() -> None:
    with Emulator() as emu:
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # knows no authority at all
        port = int(emu.host.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            plain.wrap_socket(sock, server_hostname="127.0.0.1")
        assert emu.wait_for(lambda: emu.connections["workspace"] == 1)
        assert emu.requests == []
        assert call(emu).status == 200


def test_tls_refuses_what_is_older_than_1_2() -> None:
    with Emulator() as emu, connected(emu) as peer:
        assert peer.sock.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("tls", [False, True])
def test_a_reset_is_a_reset_on_the_wire(tls: bool) -> None:
    # Below TLS, because Python's ssl module reports an RST as a plain end in some versions.
    from servingclient.emulator import faults

    with Emulator(tls=tls) as emu:
        emu.script("demo", faults.reset())
        port = int(emu.host.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 5.0) as sock:
            if not tls:
                sock.sendall(post(emu))
            else:
                speak_tls(sock, str(emu.ca_file), post(emu))
            with pytest.raises(ConnectionResetError):
                read_all(sock)


def read_all(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def speak_tls(sock: socket.socket, ca_file: str, data: bytes) -> None:
    """Shake hands and send, over a socket that stays visible."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=ca_file)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        else:
            break
    tls.write(data)
    sock.sendall(outgoing.read())


def test_small_writes_are_not_held_back(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(post(emu))
        peer.answer()
        (connection,) = emu._hosting.listeners["workspace"].connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_head_and_body_leave_in_one_write(emu: Emulator) -> None:
    with connected(emu) as peer:
        for _ in range(20):
            peer.send(post(emu))
            assert peer.sock.recv(65536).endswith(json.dumps(TWO_SUMS).replace(" ", "").encode())


def test_idle_connections_are_closed(emu: Emulator) -> None:
    emu.change(idle_timeout_s=0.1)
    with connected(emu) as peer:
        for _ in range(2):
            peer.send(post(emu))
            assert peer.answer().status == 200
        began = time.monotonic()
        assert peer.closed()
        assert time.monotonic() - began >= 0.05


def test_a_connection_that_is_being_served_is_not_idle(emu: Emulator) -> None:
    emu.change(idle_timeout_s=0.05)
    emu.change_endpoint("demo", service_time_s=0.15)
    assert call(emu).status == 200


def test_a_connection_ends_after_so_many_requests(emu: Emulator) -> None:
    emu.change(max_requests_per_connection=2)
    with connected(emu) as peer:
        peer.send(post(emu))
        assert "connection" not in peer.answer().headers
        peer.send(post(emu))
        assert peer.answer().headers["connection"] == "close"
        assert peer.closed()


def test_fin_after_every_reply_without_a_word(emu: Emulator) -> None:
    emu.change(fin_after_reply=True)
    with connected(emu) as peer:
        peer.send(post(emu))
        assert "connection" not in peer.answer().headers
        assert peer.closed()


def test_the_client_may_ask_for_the_end(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(post(emu, connection="close"))
        assert peer.answer().headers["connection"] == "close"
        assert peer.closed()


def test_connections_can_be_dropped(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(post(emu))
        peer.answer()
        emu.drop_connections()
        with pytest.raises(ConnectionResetError):
            peer.sock.recv(1)


def test_a_host_may_accept_and_never_answer(emu: Emulator) -> None:
    emu.change(accept="hang")
    with connected(emu) as peer:
        peer.send(post(emu))
        assert emu.wait_for(lambda: emu.connections["workspace"] == 1)
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)
    emu.change(accept="serve")
    assert call(emu).status == 200


def test_a_host_may_reset_new_connections(emu: Emulator) -> None:
    emu.change(accept="reset")
    with pytest.raises(ConnectionResetError), connected(emu) as peer:  # perhaps as early as connect
        peer.sock.recv(1)
    assert emu.requests == []


def test_pipelined_requests_are_answered_in_order(emu: Emulator) -> None:
    emu.add_endpoint("first", lambda rows: "first", service_time_s=0.05)
    emu.add_endpoint("second", lambda rows: "second")
    with connected(emu) as peer:
        peer.send(post(emu, "first") + post(emu, "second"))
        got = b""
        while b"second" not in got:
            got += peer.sock.recv(65536)
    assert got.index(b'"first"') < got.index(b'"second"')


def test_a_long_pipeline_does_not_nest(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(post(emu) * 2000)
        got = bytearray()  # whole: a status line may come in two pieces
        while got.count(b"HTTP/1.1 200 OK") < 2000:
            got += peer.sock.recv(65536)
    assert len(emu.requests) == 2000


def test_a_request_may_come_byte_by_byte(emu: Emulator) -> None:
    with connected(emu) as peer:
        for byte in post(emu):
            peer.send(bytes([byte]))
        assert peer.answer().json() == TWO_SUMS


def test_a_chunked_request(emu: Emulator) -> None:
    body = json.dumps(TWO_ROWS).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    raw = post(emu, value=b"", content_length=None, transfer_encoding="chunked")
    with connected(emu) as peer:
        peer.send(raw + chunks + b"0\r\n\r\n")
        assert peer.answer().json() == TWO_SUMS


def test_a_client_that_asks_first_is_told_to_continue(emu: Emulator) -> None:
    whole = post(emu, expect="100-continue")
    head, body = whole.split(b"\r\n\r\n", 1)
    with connected(emu) as peer:
        peer.send(head + b"\r\n\r\n")
        assert peer.sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(body)
        assert peer.answer().json() == TWO_SUMS


@pytest.mark.parametrize("garbage", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01"])
def test_garbage_is_a_400_and_the_end(emu: Emulator, garbage: bytes) -> None:
    with connected(emu) as peer:
        peer.send(garbage + b"\r\n\r\n")
        assert peer.rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_an_upgrade_is_not_granted(emu: Emulator) -> None:
    with connected(emu) as peer:
        peer.send(get("/").replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"))
        assert b"101" not in peer.rest()[:20]


# ---------------------------------------- sizes


def test_the_limit_is_16_mib_exactly(emu: Emulator) -> None:
    limit = 16_777_216
    assert call(emu, value=sized(limit)).json() == {"predictions": [1.0]}
    answer = call(emu, value=sized(limit + 1))
    assert (answer.status, answer.message) == (400, "Request size cannot exceed 16777216 bytes")
    assert emu.requests[-1].request_bytes == limit + 1
    assert sum(emu.executions("demo").values()) == 1


def test_agents_take_4_mib(emu: Emulator) -> None:
    emu.add_endpoint("agent", kind="agent")
    answer = call(emu, "agent", sized(4_194_305))
    assert (answer.status, answer.message) == (400, "Request size cannot exceed 4194304 bytes")
    assert call(emu, "agent", sized(4_194_304)).status == 200


def test_a_limit_of_ones_own(emu: Emulator) -> None:
    emu.add_endpoint("tiny", max_request_bytes=100)
    assert call(emu, "tiny", sized(100)).status == 200
    assert call(emu, "tiny", sized(101)).status == 400
    assert call(emu, value=sized(101)).status == 200


def test_a_connection_survives_an_oversize_request(emu: Emulator) -> None:
    emu.add_endpoint("tiny", max_request_bytes=100)
    with connected(emu) as peer:
        peer.send(post(emu, "tiny", sized(5000)))
        assert peer.answer().status == 400
        peer.send(post(emu))
        assert peer.answer().json() == TWO_SUMS


def test_or_it_is_closed_during_the_upload(emu: Emulator) -> None:
    emu.change(oversize="close")
    broken = (ConnectionResetError, BrokenPipeError)
    with pytest.raises(broken):  # while the upload runs, or when its answer is waited for
        call(emu, value=sized(20_000_000))
    assert emu.requests == []
    assert call(emu, value=sized(1_000_000)).status == 200


def test_a_chunked_request_has_no_way_around_the_limit(emu: Emulator) -> None:
    emu.add_endpoint("tiny", max_request_bytes=100)
    body = sized(200)
    raw = post(emu, "tiny", b"", content_length=None, transfer_encoding="chunked")
    with connected(emu) as peer:
        peer.send(raw + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert peer.answer().status == 400


def test_clients_that_vanish_under_tls_do_not_disturb_the_end() -> None:
    """Fifty TLS clients reset at once while the emulator stops: it must stop all the same."""
    with Emulator() as emulator:
        address = ("127.0.0.1", int(emulator.host.rsplit(":", 1)[1]))
        context = ssl.create_default_context(cafile=emulator.ca_file)
        clients = [
            context.wrap_socket(socket.create_connection(address), server_hostname="127.0.0.1")
            for _ in range(50)
        ]
        linger = struct.pack("ii", 1, 0)
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
