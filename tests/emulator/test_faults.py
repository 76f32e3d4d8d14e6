"""Every fault, seen from the wire."""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from servingclient.emulator import Emulator, Fault, fault_json, faults
from tests.emulator.peer import TWO_ROWS, TWO_SUMS, Answer, call, connected, post, token_request
from tests.stopwatch import Stopwatch

NAMED = {**TWO_ROWS, "client_request_id": "r-1"}


def under(emu: Emulator, fault: Fault) -> Answer:
    emu.script("demo", fault)
    return call(emu, value=NAMED)


def ran(emu: Emulator) -> int:
    return emu.executions("demo")["r-1"]


def broken(emu: Emulator, fault: Fault) -> bytes:
    """What arrives before the connection breaks; the RST or early FIN is part of the claim."""
    emu.script("demo", fault)
    got = b""
    with connected(emu) as peer:
        peer.send(post(emu, value=NAMED))
        try:
            while data := peer.sock.recv(65536):
                got += data
        except ConnectionResetError:
            return got + b"<RST>"
    return got + b"<FIN>"


# ---------------------------------------- order


def test_one_fault_a_call_first_in_first_out(emu: Emulator) -> None:
    emu.script("demo", faults.empty(502), faults.ok(), faults.empty(503))
    emu.script("demo", faults.empty(504))
    assert [call(emu).status for _ in range(5)] == [502, 200, 503, 504, 200]


def test_a_standing_fault_stands_behind_the_script(emu: Emulator) -> None:
    emu.always("demo", faults.empty(503))
    emu.script("demo", faults.ok(), faults.empty(502))
    assert [call(emu).status for _ in range(4)] == [200, 502, 503, 503]
    emu.clear("demo")
    assert call(emu).status == 200


def test_endpoints_have_scripts_of_their_own(emu: Emulator) -> None:
    emu.add_endpoint("other")
    emu.script("demo", faults.empty(502))
    assert call(emu, "other").status == 200
    assert call(emu).status == 502


def test_an_unknown_endpoint_cannot_be_scripted(emu: Emulator) -> None:
    with pytest.raises(KeyError, match="no endpoint 'nope'; there are demo, demo-fast"):
        emu.script("nope", faults.ok())


# ---------------------------------------- 429


def test_throttled_without_retry_after(emu: Emulator) -> None:
    answer = under(emu, faults.throttled())
    assert answer.status == 429
    assert answer.message.startswith("Too many concurrent requests.")
    assert "retry-after" not in answer.headers
    assert ran(emu) == 0


@pytest.mark.parametrize(
    ("value", "sent"),
    [(3, "3"), (1.5, "1.5"), ("absurd", str(365 * 86400)), ("soon", "soon"), (-5, "-5")],
)
def test_retry_after_in_many_forms(emu: Emulator, value: Any, sent: str) -> None:
    assert under(emu, faults.throttled(retry_after=value)).headers["retry-after"] == sent


@pytest.mark.parametrize("skew_s", [0.0, 3600.0])
def test_retry_after_as_a_date_fits_the_date_of_the_reply(emu: Emulator, skew_s: float) -> None:
    headers = under(emu, faults.throttled(retry_after="date", clock_skew_s=skew_s)).headers
    date = parsedate_to_datetime(headers["date"])
    assert 1 <= (parsedate_to_datetime(headers["retry-after"]) - date).total_seconds() <= 3
    assert abs(date.timestamp() - time.time() - skew_s) < 5


def test_foundation_models_hint_in_the_body(emu: Emulator) -> None:
    answer = under(emu, faults.throttled(in_body=15))
    assert answer.json()["error"]["retry_after"] == 15
    assert answer.json()["error"]["type"] == "rate_limit_exceeded"
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("workspace_parallel", "Exceeded max number of parallel requests."),
        ("workspace_qps", "Exceeded workspace QPS rate limit for demo"),
        ("ai_gateway", "User defined rate limit(s) exceeded for 'demo'."),
        ("control_plane", "exceeded the concurrent limit of 60 requests"),
    ],
)
def test_the_family(emu: Emulator, kind: Any, words: str) -> None:
    answer = under(emu, faults.throttled(kind=kind))
    assert answer.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert words in answer.message


# ---------------------------------------- connections


@pytest.mark.parametrize(
    ("when", "runs", "status"), [("before", 0, None), ("after", 1, None), ("mid_reply", 1, 200)]
)
@pytest.mark.parametrize(
    ("fault", "end"), [(faults.reset, b"<RST>"), (faults.disconnect, b"<FIN>")]
)
def test_the_connection_ends(
    emu: Emulator,
    fault: Callable[[Any], Fault],
    end: bytes,
    when: str,
    runs: int,
    status: int | None,
) -> None:
    got = broken(emu, fault(when))
    assert got.endswith(end)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n" if when == "mid_reply" else end)
    assert ran(emu) == runs
    record = emu.requests[-1]
    assert (record.status, record.executed, record.fault) == (status, bool(runs), fault.__name__)


def test_mid_reply_leaves_half_of_the_body(emu: Emulator) -> None:
    head, _, body = broken(emu, faults.disconnect("mid_reply")).partition(b"\r\n\r\n")
    announced = int(re.search(rb"content-length: (\d+)", head)[1])
    assert len(body.removesuffix(b"<FIN>")) == announced // 2


@pytest.mark.parametrize(("when", "runs"), [("before", 0), ("after", 1)])
def test_hang(emu: Emulator, when: Any, runs: int) -> None:
    emu.script("demo", faults.hang(when))
    with connected(emu) as peer:
        peer.send(post(emu, value=NAMED))
        assert emu.wait_for(lambda: len(emu.requests) == 1)
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)
    assert ran(emu) == runs
    assert emu.requests[-1].status is None


def test_slow_runs_the_model_at_once(emu: Emulator) -> None:
    emu.script("demo", faults.slow(0.15))
    with connected(emu) as peer:
        began = time.monotonic()
        with Stopwatch() as watch:
            peer.send(post(emu, value=NAMED))
            assert emu.wait_for(lambda: ran(emu) == 1)
        assert watch.took_s < 0.15
        assert peer.answer().json() == TWO_SUMS
        assert time.monotonic() - began >= 0.15


def test_a_client_that_did_not_wait_was_sent_nothing(emu: Emulator) -> None:
    emu.script("demo", faults.slow(0.1))
    with connected(emu) as peer:
        peer.send(post(emu, value=NAMED))
        assert emu.wait_for(lambda: ran(emu) == 1)
    assert emu.wait_for(lambda: len(emu.requests) == 1)
    assert (emu.requests[0].status, emu.requests[0].executed) == (None, True)


def test_close_silently_says_nothing_before_the_end(emu: Emulator) -> None:
    emu.script("demo", faults.close_silently())
    with connected(emu) as peer:
        peer.send(post(emu))
        answer = peer.answer()
        assert (answer.json(), "connection" in answer.headers) == (TWO_SUMS, False)
        assert peer.closed()


def test_announce_close_says_so(emu: Emulator) -> None:
    emu.script("demo", faults.announce_close())
    with connected(emu) as peer:
        peer.send(post(emu))
        assert peer.answer().headers["connection"] == "close"
        assert peer.closed()


@pytest.mark.parametrize("part", ["head", "body"])
def test_drip_comes_in_pieces(emu: Emulator, part: Any) -> None:
    emu.script("demo", faults.drip(part, interval_s=0.01, piece_bytes=5))
    with connected(emu) as peer:
        peer.send(post(emu))
        reads = [peer.sock.recv(65536)]
        while not reads[-1].endswith(b"]}"):
            reads.append(peer.sock.recv(65536))
        whole = b"".join(reads)
        head = whole.index(b"\r\n\r\n") + 4
        # the part that drips needs several reads, whatever the other part does
        assert len(reads) >= 4
        assert len(reads[0]) == 5 if part == "head" else len(reads[0]) >= head
        assert json.loads(whole.partition(b"\r\n\r\n")[2]) == TWO_SUMS
        peer.send(post(emu))
        assert peer.answer().json() == TWO_SUMS


@pytest.mark.parametrize("interval_s", [0.0, 0.01])
def test_informational_replies_come_before_the_answer(emu: Emulator, interval_s: float) -> None:
    emu.script("demo", faults.informational(2, interval_s=interval_s))
    with connected(emu) as peer:
        peer.send(post(emu))
        got = b""
        while not got.endswith(b"]}"):
            got += peer.sock.recv(65536)
    assert got.count(b"HTTP/1.1 103 Early Hints\r\n") == 2
    assert got.index(b"HTTP/1.1 103") < got.index(b"HTTP/1.1 200 OK")


def test_a_second_reply_poisons_the_connection(emu: Emulator) -> None:
    emu.script("demo", faults.second_reply())
    with connected(emu) as peer:
        peer.send(post(emu))
        got = b""
        while b"POISON" not in got:
            got += peer.sock.recv(65536)
        assert got.count(b"HTTP/1.1 200 OK") == 2
        peer.send(post(emu))
        assert peer.answer().json() == TWO_SUMS


def test_raw_bytes(emu: Emulator) -> None:
    assert broken(emu, faults.raw("nonsense")) == b"nonsense<FIN>"
    assert broken(emu, faults.raw(b"", then="reset", executed=True)) == b"<RST>"
    assert ran(emu) == 1
    emu.script("demo", faults.raw(b"HTTP/1.1 204 No Content\r\n\r\n", then="keep"))
    with connected(emu) as peer:
        peer.send(post(emu))
        assert peer.answer().status == 204
        peer.send(post(emu))
        assert peer.answer().status == 200


# ---------------------------------------- gateway noise


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("executed", [False, True])
def test_noise_in_three_shapes(emu: Emulator, status: int, executed: bool) -> None:
    page = under(emu, faults.html(status, executed=executed))
    assert (page.status, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert page.body.startswith(b"<html>")
    text = under(emu, faults.plain(status, executed=executed))
    assert (text.status, text.body) == (status, b"upstream connect error")
    nothing = under(emu, faults.empty(status, executed=executed))
    assert (nothing.status, nothing.body) == (status, b"")
    assert "content-type" not in nothing.headers
    assert ran(emu) == (3 if executed else 0)


def test_execution_timeout_is_text_labelled_json(emu: Emulator) -> None:
    answer = under(emu, faults.execution_timeout())
    assert (answer.status, answer.body) == (504, b"Request processing time exceeded limit")
    assert answer.headers["content-type"] == "application/json"
    assert ran(emu) == 1


def test_a_login_page_is_a_200(emu: Emulator) -> None:
    answer = under(emu, faults.login_page())
    assert (answer.status, b"Sign in" in answer.body) == (200, True)
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(emu: Emulator, status: int) -> None:
    answer = under(emu, faults.redirect("https://example.invalid/x", status))
    assert (answer.status, answer.headers["location"]) == (status, "https://example.invalid/x")


def test_an_error_may_echo_the_credentials(emu: Emulator) -> None:
    answer = under(emu, faults.echo_authorization())
    assert (answer.status, emu.token in answer.message) == (500, True)


def test_wrong_content_type(emu: Emulator) -> None:
    answer = under(emu, faults.wrong_content_type("text/csv"))
    assert (answer.headers["content-type"], answer.json()) == ("text/csv", TWO_SUMS)
    assert "content-type" not in under(emu, faults.wrong_content_type(None)).headers


def test_truncated_json_is_a_complete_reply(emu: Emulator) -> None:
    answer = under(emu, faults.truncated_json())
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


def test_any_body_and_any_answer(emu: Emulator) -> None:
    assert under(emu, faults.body('{"predictions":[1]}')).json() == {"predictions": [1]}
    assert ran(emu) == 1
    fault = faults.answer(418, "short", content_type="a/b", headers={"x-y": "z"}, delay_s=0.05)
    began = time.monotonic()
    answer = under(emu, fault)
    assert time.monotonic() - began >= 0.05
    assert (answer.status, answer.body, answer.headers["x-y"]) == (418, b"short", "z")
    assert ran(emu) == 1


# ---------------------------------------- compression


def inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(31)
    return inflater.decompress(data) + inflater.flush()


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("short", {"predictions": [3.5]}),
        ("long", {"predictions": [3.5, 7.0, 7.0]}),
        ("dict", {"predictions": {"0": 3.5, "1": 7.0}}),
        ("columns", {"predictions": {"prediction": [3.5, 7.0]}}),
        ("scalar", {"predictions": 3.5}),
        ("missing", {}),
    ],
)
def test_predictions_of_another_shape(emu: Emulator, shape: Any, value: Any) -> None:
    answer = under(emu, faults.misshapen(shape))
    assert (answer.status, answer.json()) == (200, value)
    assert ran(emu) == 1


def test_an_error_keeps_its_shape(emu: Emulator) -> None:
    emu.change_endpoint("demo", poison=1)
    assert under(emu, faults.misshapen("short")).json()["error_code"] == "BAD_REQUEST"


def test_an_unknown_shape(emu: Emulator) -> None:
    with pytest.raises(TypeError, match="no shape 'round'; there are short, "):
        faults.misshapen("round")  # type: ignore[arg-type]


def test_gzip_replies(emu: Emulator) -> None:
    good = under(emu, faults.gzip())
    assert good.headers["content-encoding"] == "gzip"
    assert json.loads(inflate(good.body)) == TWO_SUMS
    members = under(emu, faults.gzip("multi_member")).body
    assert json.loads(gzip.decompress(members)) == TWO_SUMS
    assert inflate(members) != gzip.decompress(members)
    with pytest.raises(EOFError):
        gzip.decompress(under(emu, faults.gzip("truncated")).body)
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(under(emu, faults.gzip("bad_checksum")).body)
    with pytest.raises(gzip.BadGzipFile, match="Not a gzipped"):
        gzip.decompress(under(emu, faults.gzip("trailing")).body)


def test_a_bomb_is_small_and_becomes_large(emu: Emulator) -> None:
    packed = under(emu, faults.gzip_bomb(8_000_000)).body
    assert len(packed) < 16_000
    inflated = inflate(packed)
    assert len(inflated) > 8_000_000
    assert json.loads(inflated) == {"predictions": [1.0]}


# ---------------------------------------- credentials


def test_refused_tokens(emu: Emulator) -> None:
    invalid = under(emu, faults.invalid_token())
    assert (invalid.status, invalid.json()["error_code"]) == (403, 403)
    assert invalid.message.startswith("Invalid access token.")
    assert under(emu, faults.invalid_token(401)).status == 401
    assert "within 30 seconds" in under(emu, faults.expiring_token()).message
    denied = under(emu, faults.permission_denied())
    assert (denied.status, denied.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert ran(emu) == 0


def test_token_requests_may_be_slow_and_damaged(emu: Emulator) -> None:
    emu.token_script(faults.slow(0.05), faults.truncated_json())
    began = time.monotonic()
    assert token_request(emu).json()["token_type"] == "Bearer"
    assert time.monotonic() - began >= 0.05
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        token_request(emu).json()


# ---------------------------------------- by name


def test_every_public_fault_has_its_name() -> None:
    public = {
        name
        for name, value in vars(faults).items()
        if callable(value) and value.__module__ == faults.__name__ and not name.startswith("_")
    }
    assert public == set(fault_json.BY_NAME)


def test_faults_from_json() -> None:
    assert fault_json.from_json("ok") == faults.ok()
    assert fault_json.from_json({"name": "slow", "delay_s": 2}) == faults.slow(2)
    with pytest.raises(ValueError, match="unknown fault"):
        fault_json.from_json("nope")
    with pytest.raises(ValueError, match="fault 'slow'"):
        fault_json.from_json({"name": "slow", "colour": "red"})


def test_what_is_no_fault_is_refused_at_once(emu: Emulator) -> None:
    with pytest.raises(TypeError, match=r"call it: faults\.ok\(\)"):
        emu.script("demo", faults.ok)  # type: ignore[arg-type]
    for setter in (emu.token_always, emu.describe_always):
        with pytest.raises(TypeError, match="a fault is needed, not int"):
            setter(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a fault is needed, not str"):
        emu.always("demo", "reset")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a model is a function of the rows, not int"):
        emu.add_endpoint("number", 3)  # type: ignore[arg-type]
    assert call(emu, "demo").status == 200
