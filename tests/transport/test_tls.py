"""TLS refuses what it must, at once and for good (T11, T12; inputs 67-69)."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from servingclient._types import FaultKind, Origin
from servingclient.errors import ConfigError
from servingclient.settings import Settings, Tls
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Connection,
    Greeting,
    Request,
    ScriptedServer,
    banner,
    echo,
    eventually,
    plain_http,
    poison,
    refusing_handshake,
    reply,
    reset_at_once,
    then_fin,
)
from tests.stopwatch import Stopwatch
from tests.transport.conftest import Drive
from tests.transport.kit import (
    Driver,
    answer_of,
    body_of,
    facts,
    origin_of,
    settings_of,
    target_at,
    target_of,
)

BAD: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str]] = {
    "expired": (Authority.expired, "expired"),
    "wrong host": (Authority.wrong_host, "127.0.0.1"),
    "untrusted": (Authority.untrusted, "issuer"),
    "self-signed": (Authority.self_signed, "self-signed"),
}


@pytest.mark.parametrize("case", BAD)
def test_T12_a_bad_certificate_is_one_connection_and_a_reason(
    drive: Drive, authority: Authority, case: str
):
    context, reason = BAD[case]
    with ScriptedServer(tls=context(authority)) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        with Stopwatch() as watch:
            fault = driver.fault(target_of(server))
            assert facts(fault) == (FaultKind.TLS, "no")
        assert watch.took_s < 0.5
        assert re.search(reason, fault.detail), fault.detail
        assert fault.host == "127.0.0.1"
        assert len(server.connections) == 1
        assert server.received_bytes == 0


@pytest.mark.parametrize("greeting", [banner, plain_http(reply(status="400 Bad Request"))])
def test_input_67_68_another_protocol_on_the_tls_port(
    drive: Drive, authority: Authority, greeting: Greeting
):
    with ScriptedServer(tls=authority.good(), before_tls=greeting) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        assert facts(driver.fault(target_of(server))) == (FaultKind.TLS, "no")
        assert len(server.connections) == 1


def test_a_reset_in_the_handshake_is_no_matter_of_certificates(drive: Drive, authority: Authority):
    with ScriptedServer(echo(), tls=authority.good(), before_tls=reset_at_once) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        assert facts(driver.fault(target_of(server))) == (FaultKind.NOT_CONNECTED, "no")
        server.before_tls = None
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_good_certificate_is_accepted_and_only_http_1_1_is_offered(
    drive: Drive, authority: Authority, host: str
):
    context = authority.good()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with ScriptedServer(echo(), tls=context) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        target = target_at(origin_of(server, host))
        assert [answer_of(driver.send(target, body_of(n))) for n in range(3)] == ["0", "1", "2"]
        transport = server.connections[0].writer.transport
        chosen = transport.get_extra_info("ssl_object")
        assert chosen.selected_alpn_protocol() == "http/1.1"
        assert chosen.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_tls_versions_carry_large_messages(drive: Drive, authority: Authority, version):
    context = authority.good()
    context.minimum_version = context.maximum_version = version
    body = os.urandom(1 << 20)
    with ScriptedServer(reply(body), tls=context) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        for _ in range(3):
            assert driver.send(target_of(server), body).body == body
        assert [r.body == body for r in server.requests] == [True] * 3
        assert len(server.connections) == 1


VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


def test_T11_the_environment_has_no_say(
    drive: Drive, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    keys = tmp_path / "keys.log"
    with (
        ScriptedServer(echo()) as proxy,
        ScriptedServer(echo(), tls=authority.good()) as server,
    ):
        for name in VARIABLES:
            value = f"http://127.0.0.1:{proxy.port}" if "PROXY" in name else "/nonexistent"
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
        pool = {"max_lanes": 31}  # settings of this test alone: contexts are kept per Tls
        tls = Tls(ca_file=copied(authority.ca_file, tmp_path))
        driver = drive(Settings(tls=tls, pool=settings_of(**pool).pool))
        assert answer_of(driver.send(target_of(server), body_of("x"))) == "x"
        assert not proxy.connections
        assert not keys.exists()


def copied(ca_file: str, folder: Path) -> str:
    path = folder / "ca-copy.pem"
    path.write_bytes(Path(ca_file).read_bytes())
    return str(path)


def test_T11_unverified_and_plain_connections_stay_on_this_machine(drive: Drive):
    insecure = Settings(tls=Tls(verify=False, allow_insecure=True))
    for settings, origin in (
        (insecure, Origin("https", "example.com", 443)),
        (Settings(), Origin("http", "example.com", 80)),
    ):
        with pytest.raises(ConfigError, match=r"example\.com"):
            drive(settings).send(target_at(origin))


def test_unverified_tls_works_on_loopback(drive: Drive, authority: Authority):
    with ScriptedServer(echo(), tls=authority.self_signed()) as server:
        driver = drive(Settings(tls=Tls(verify=False, allow_insecure=True)))
        assert answer_of(driver.send(target_of(server), body_of("x"))) == "x"


def test_T8_bytes_behind_a_reply_close_a_tls_lane_too(drive_lane: Drive, authority: Authority):
    with ScriptedServer(poison(), tls=authority.good()) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        answers = [answer_of(driver.send(target_of(server), body_of(n))) for n in range(20)]
        assert answers == [str(n) for n in range(20)]
        assert driver.wire.pool.stats().desyncs == 20


@pytest.mark.parametrize("how", ["fin", "ragged_fin", "rst"])
def test_T2_a_tls_connection_that_dies_idle_is_noticed(
    drive: Drive, authority: Authority, how: str
):
    with ScriptedServer(echo(), tls=authority.good()) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        for n in range(5):
            assert answer_of(driver.send(target_of(server), body_of(n))) == str(n)
            server.call(getattr(server.connections[-1], how))
            driver.see_bytes()
        assert len(server.connections) == 5


@pytest.mark.parametrize("framing", ["length", "close"])
def test_a_reply_that_ends_with_tls_s_goodbye_is_whole_and_its_lane_retired(
    drive_lane: Drive, authority: Authority, framing: str
):
    """The server says goodbye right behind the reply and waits for ours before it sends FIN.

    (httpx reuses such a connection and then reports it closed: a stale one, for the story.)
    """
    answer = then_fin(reply(b"[1, 2]", framing=framing))
    with ScriptedServer(answer, tls=authority.good()) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        for _ in range(10):
            with Stopwatch() as watch:
                assert driver.send(target_of(server)).body == b"[1, 2]"
            assert watch.took_s < 1
            assert eventually(lambda: goodbye_has_come(driver))
        assert len(server.connections) == 10


def goodbye_has_come(driver: Driver) -> bool:
    driver.settle()
    lanes = [lane for shelf in driver.wire.pool._shelves.values() for lane in shelf.idle]
    return all(not lane.quiet() or lane._tls.closed for lane in lanes)


def test_a_reply_that_ends_without_tls_s_goodbye_may_be_forged(
    drive_lane: Drive, authority: Authority
):
    async def cut(conn: Connection, request: Request) -> None:
        await conn.send(reply(b"[1, 2]", framing="close"))
        conn.ragged_fin()

    with ScriptedServer(cut, tls=authority.good()) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        assert facts(driver.fault(target_of(server))) == (FaultKind.CUT_OFF, "maybe")


def test_T11_a_server_that_speaks_only_tls_1_1_is_refused_for_good(
    drive: Drive, authority: Authority
):
    refusing = refusing_handshake(authority.tls_1_1_only())
    with ScriptedServer(before_tls=refusing, tls=authority.good()) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        fault = driver.fault(target_of(server))
        assert facts(fault) == (FaultKind.TLS, "no")
        assert "protocol version" in fault.detail
        assert len(server.connections) == 1
