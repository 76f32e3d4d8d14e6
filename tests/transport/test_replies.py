"""What a reply may look like, and what it may not (inputs 45, 48-53, 67; F5, F6, T8, T14)."""

from __future__ import annotations

import gzip

import pytest

from servingclient._types import FaultKind
from tests.scripted import bodies
from tests.scripted.server import (
    ScriptedServer,
    chunked,
    drip,
    drip_interim,
    echo,
    poison,
    reply,
    send,
    then_fin,
    then_wait,
)
from tests.transport.conftest import Drive
from tests.transport.kit import answer_of, body_of, facts, settings_of, target_of

GOOD = {
    "plain": reply(bodies.BODY),
    "chunked": reply(bodies.BODY, framing="chunked"),
    "chunked with trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(bodies.BODY, 100, b"X-Trailer: 1\r\nContent-Encoding: br\r\n"),
    "gzip": bodies.gzipped(),
    "gzip by its old name": bodies.gzipped(coding="x-gzip"),
    "gzip chunked": reply(gzip.compress(bodies.BODY), "Content-Encoding: gzip", framing="chunked"),
    "identity": reply(bodies.BODY, "Content-Encoding: identity"),
    "interim replies first": b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nContent-Encoding: br\r\nLink: </a>\r\n\r\n" + reply(bodies.BODY),
}

ENDED_BY_CLOSE = {
    "neither length nor chunks": reply(bodies.BODY, framing="close"),
    "HTTP/1.0": reply(bodies.BODY, framing="close", version="1.0"),
    "gzip until close": reply(
        gzip.compress(bodies.BODY), "Content-Encoding: gzip", framing="close"
    ),
    "connection: close": reply(bodies.BODY, "Connection: close"),
}


@pytest.mark.parametrize("shape", GOOD)
def test_a_good_reply_arrives_and_its_connection_is_used_again(drive: Drive, shape: str):
    with ScriptedServer([GOOD[shape], echo()]) as server:
        driver = drive()
        assert driver.send(target_of(server)).body == bodies.BODY
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        assert len(server.connections) == 1


@pytest.mark.parametrize("shape", ENDED_BY_CLOSE)
def test_a_reply_may_end_with_its_connection(drive: Drive, shape: str):
    with ScriptedServer([then_fin(ENDED_BY_CLOSE[shape]), echo()]) as server:
        driver = drive()
        assert driver.send(target_of(server)).body == bodies.BODY
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        assert len(server.connections) == 2


@pytest.mark.parametrize("shape", GOOD)
def test_a_reply_in_single_bytes_is_the_same_reply(drive: Drive, shape: str):
    with ScriptedServer(drip(GOOD[shape], 0.0)) as server:
        assert drive().send(target_of(server), timeout_s=15).body == bodies.BODY


@pytest.mark.parametrize("status", [200, 204, 304, 400, 429, 503, 599])
def test_status_and_headers_arrive_as_sent(drive: Drive, status: int):
    data = reply(b"" if status in (204, 304) else b"{}", "X-A: 1", "x-a: 2", status=f"{status} X")
    with ScriptedServer(data) as server:
        got = drive().send(target_of(server))
    assert got.status == status
    assert got.header(b"x-a") == "1, 2"


@pytest.mark.parametrize("name", bodies.NOT_HTTP)
def test_input_45_and_67_what_is_no_http_is_unreadable_and_not_ambiguous(drive: Drive, name: str):
    with ScriptedServer([then_fin(bodies.NOT_HTTP[name]), echo()]) as server:
        driver = drive()
        kind = driver.fault(target_of(server)).kind
        if name == "ssh_banner" and not driver.is_lane:
            assert kind is FaultKind.CUT_OFF  # h11 waits for a blank line and never looks at it
        else:
            assert kind is FaultKind.UNREADABLE
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        assert len(server.connections) == 2


@pytest.mark.parametrize("name", bodies.UNASKED_CODINGS)
def test_input_49_a_coding_nobody_asked_for_is_unreadable(drive: Drive, name: str):
    with ScriptedServer([bodies.UNASKED_CODINGS[name], echo()]) as server:
        driver = drive()
        fault = driver.fault(target_of(server))
        assert fault.kind is FaultKind.UNREADABLE
        assert name.partition(",")[0] in fault.detail
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


@pytest.mark.parametrize("name", bodies.BROKEN_FRAMING)
def test_input_51_53_broken_framing_is_a_lost_connection(drive_lane: Drive, name: str):
    with ScriptedServer([then_fin(bodies.BROKEN_FRAMING[name]), echo()]) as server:
        driver = drive_lane()
        assert facts(driver.fault(target_of(server))) == (FaultKind.CUT_OFF, "maybe")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        assert len(server.connections) == 2


# h11 accepts these two; the body is then right and the connection is not used again
_TAKEN_BY_H11 = {"length_and_chunked", "folded_header"}


@pytest.mark.parametrize("name", sorted(set(bodies.BROKEN_FRAMING) - _TAKEN_BY_H11))
@pytest.mark.parametrize("drive", ["httpx", "async_httpx"], indirect=True)
def test_input_51_53_the_same_over_httpx(drive: Drive, name: str):
    with ScriptedServer([then_fin(bodies.BROKEN_FRAMING[name]), echo()]) as server:
        driver = drive()
        fault = driver.fault(target_of(server))
        assert fault.kind in (FaultKind.CUT_OFF, FaultKind.UNREADABLE)
        assert fault.sent == "maybe"
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_input_52_a_header_beyond_the_limit_is_a_lost_connection(drive: Drive):
    with ScriptedServer([then_wait(bodies.HUGE_HEADER), echo()]) as server:
        driver = drive()
        assert facts(driver.fault(target_of(server))) == (FaultKind.CUT_OFF, "maybe")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_input_52_interim_replies_count_as_head(drive_lane: Drive):
    """httpx does not count them; there the deadline bounds them."""
    with ScriptedServer([then_wait(bodies.HUGE_INTERIM), echo()]) as server:
        driver = drive_lane()
        assert facts(driver.fault(target_of(server))) == (FaultKind.CUT_OFF, "maybe")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_input_48_gzip_with_a_wrong_checksum_is_corrupt(drive: Drive):
    with ScriptedServer([bodies.gzip_bad_crc(), echo()]) as server:
        driver = drive()
        assert facts(driver.fault(target_of(server))) == (FaultKind.CORRUPT, "yes")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_input_48_a_wrong_label_is_corrupt(drive: Drive):
    with ScriptedServer(reply(bodies.BODY, "Content-Encoding: gzip")) as server:
        assert drive().fault(target_of(server)).kind is FaultKind.CORRUPT


def test_T14_F6_gzip_cut_at_forty_points_is_always_an_error(drive: Drive):
    size = len(gzip.compress(bodies.BODY, mtime=0))
    cuts = [1 + n * (size - 2) // 39 for n in range(40)]
    assert cuts[-1] == size - 1
    with ScriptedServer([bodies.gzip_cut(at) for at in cuts]) as server:
        driver = drive()
        kinds = [driver.fault(target_of(server)).kind for _ in cuts]
    assert kinds == [FaultKind.CORRUPT] * 40


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_T14_F6_gzip_members_add_up(drive: Drive, count: int):
    parts = [bodies.BODY[n::count] for n in range(count)]
    with ScriptedServer(bodies.members(*parts)) as server:
        assert drive().send(target_of(server)).body == b"".join(parts)


def test_T14_a_truncated_gzip_without_length_is_an_error(drive: Drive):
    data = reply(gzip.compress(bodies.BODY)[:-3], "Content-Encoding: gzip", framing="close")
    with ScriptedServer(then_fin(data)) as server:
        kind = drive().fault(target_of(server)).kind
    assert kind in (FaultKind.CORRUPT, FaultKind.CUT_OFF)


@pytest.mark.parametrize("zipped", [True, False], ids=["gzip", "plain"])
def test_a_reply_beyond_the_limit_is_too_large(drive: Drive, zipped: bool):
    body = bytes(200_000)
    data = bodies.gzipped(body) if zipped else reply(body)
    with ScriptedServer([data, echo()]) as server:
        driver = drive(settings_of(max_reply_bytes=100_000))
        assert facts(driver.fault(target_of(server))) == (FaultKind.TOO_LARGE, "yes")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_T8_a_second_reply_never_answers_the_next_call(drive_lane: Drive):
    with ScriptedServer(poison()) as server:
        driver = drive_lane()
        answers = [answer_of(driver.send(target_of(server), body_of(n))) for n in range(200)]
        assert answers == [str(n) for n in range(200)]
        assert driver.wire.pool.stats().desyncs == 200


@pytest.mark.parametrize("drive", ["httpx", "async_httpx"], indirect=True)
def test_T8_nor_over_httpx_which_would_take_it(drive: Drive):
    with ScriptedServer(poison()) as server:
        driver = drive()
        answers = [answer_of(driver.send(target_of(server), body_of(n))) for n in range(50)]
        assert answers == [str(n) for n in range(50)]
        assert driver.in_use() == 0


def test_T8_bytes_on_an_idle_lane_are_never_an_answer(drive_lane: Drive):
    second = reply(b'{"predictions": ["POISON"]}')
    with ScriptedServer(echo()) as server:
        driver = drive_lane()
        for n in range(20):
            assert answer_of(driver.send(target_of(server), body_of(n))) == str(n)
            last = server.connections[-1]
            server.call(lambda last=last: last.write(second))
            assert driver.wire.pool.stats().idle == 1
            driver.see_bytes()
        assert len(server.connections) == 20


def test_interim_replies_may_take_their_time(drive: Drive):
    with ScriptedServer(drip_interim(0.01, count=5)) as server:
        assert drive().send(target_of(server)).status == 200


def test_a_streamed_reply_arrives_in_pieces_and_its_connection_is_used_again(drive: Drive):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(bodies.BODY, 50)
    with ScriptedServer([drip(data, 0.0), echo()]) as server:
        driver = drive()
        pieces = driver.stream(target_of(server))
        assert b"".join(pieces) == bodies.BODY
        assert len(pieces) > 1
        assert driver.in_use() == 0
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        assert len(server.connections) == 1


def test_a_streamed_gzip_is_decoded_and_checked(drive: Drive):
    with ScriptedServer([bodies.gzipped(), bodies.gzip_cut(300), echo()]) as server:
        driver = drive()
        assert b"".join(driver.stream(target_of(server))) == bodies.BODY
        with pytest.raises(Exception, match="gzip ends early") as caught:
            driver.stream(target_of(server))
        assert caught.value.kind is FaultKind.CORRUPT
        assert driver.in_use() == 0
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


def test_the_request_is_what_was_asked_for(drive: Drive):
    with ScriptedServer(send(reply())) as server:
        drive().send(target_of(server), body_of("x" * 300_000))
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/serving-endpoints/m/invocations")
        assert request.id == "x" * 300_000
        assert request.headers == {
            "host": f"127.0.0.1:{server.port}",
            "content-type": "application/json",
            "accept-encoding": "gzip",
            "content-length": str(len(request.body)),
        }
