"""TLS faults, as a plain TLS client meets them."""

from __future__ import annotations

import ssl

import pytest

from tests.faults import tls
from tests.faults.proxy import FaultProxy
from tests.faults.raw import connected, hear, request
from tests.faults.rules import always, nothing
from tests.scripted.certificates import Authority
from tests.scripted.server import ScriptedServer, echo, reply

REPLY = reply(b'{"predictions": ["abc"]}')
FAULTS = {
    "expired": (tls.tls_expired, "certificate has expired"),
    "wrong host": (tls.tls_wrong_host, "Hostname mismatch|doesn't match|not valid for"),
    "self-signed": (tls.tls_self_signed, "self.signed certificate"),
    "untrusted": (tls.tls_untrusted, "unable to get local issuer certificate"),
    "old version": (tls.tls_old_version, "(?i)protocol.version"),
    "plain": (lambda _: tls.tls_plain(), "(?i)wrong.version|record layer|packet length"),
}


def shaken(authority: Authority, proxy: FaultProxy) -> ssl.SSLSocket:
    return authority.client().wrap_socket(connected(proxy.port), server_hostname="localhost")


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fails_the_handshake_and_spares_open_connections(
    authority: Authority, name: str
) -> None:
    make, said = FAULTS[name]
    with (
        ScriptedServer(echo()) as server,
        FaultProxy(server.port, tls=authority.good()) as proxy,
        shaken(authority, proxy) as open_before,
    ):
        proxy.use(always(make(authority)))
        with pytest.raises(ssl.SSLError, match=said):
            shaken(authority, proxy)
        open_before.sendall(request("abc"))
        assert hear(open_before, size=len(REPLY)).data == REPLY
        proxy.use(nothing)
        with shaken(authority, proxy) as sock:
            sock.sendall(request("abc"))
            assert hear(sock, size=len(REPLY)).data == REPLY
    assert len(proxy.counts) == 3
    assert proxy.counts[1].requests == 0
