"""A4 and T11 through the doors: no service and no environment sends a token elsewhere."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from servingclient import Settings, UntrustedEndpointError
from servingclient.emulator import Emulator, faults
from servingclient.settings import Retry, Tls
from tests.doors.kit import Door, Who, found_in, principal, shown
from tests.reliability.kit import calls, numbered
from tests.scripted.certificates import Authority
from tests.scripted.server import ScriptedServer, echo
from tests.security.test_where_apis_lead import leading_to

PATH = "/1/serving-endpoints/demo-fast/invocations"
SPOOFED = [
    "https://evil.example",
    "https://127.0.0.1.evil.example",
    "https://localhost.evil.example",
    "https://127.0.0.1@evil.example",
    "https://evil.example\\@127.0.0.1",
    "https://e1.serving.cloud.databricks.com",
    "https://e1.serving.cloud.databricks.com.evil.example",
    "https://evilserving.cloud.databricks.com",
    "http://evil.example",
    "https://evil.example:8443",
    "https://evil.example/../..",
    "https://169.254.169.254",
    "https://2130706433",
    "//evil.example",
]
NAMES = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example")
ONCE = Settings(retry=Retry(max_attempts=1), timeout_s=5.0)


def described_at(address: str) -> faults.Fault:
    info = {"query_info": {"endpoint_url": address + PATH}}
    body = {"name": "demo-fast", "route_optimized": True, "id": "1", "data_plane_info": info}
    return faults.answer(200, json.dumps(body).encode())


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """What every name leads to; nobody may knock there."""
    with ScriptedServer(echo()) as server:
        monkeypatch.setattr("tests.security.test_where_apis_lead.NAMES", NAMES)
        leading_to(monkeypatch, server.port, "127.0.0.1")
        yield server


@pytest.mark.parametrize("address", SPOOFED)
def test_A4_a_spoofed_address_gets_no_token_and_no_connection(
    door: Door, emulator: Emulator, canary: ScriptedServer, address: str
) -> None:
    emulator.describe_always(described_at(address))
    who = principal(emulator)
    with pytest.raises(UntrustedEndpointError) as caught:
        door.predict(door.open("demo-fast", who, ONCE))
    assert canary.connections == []
    assert emulator.token_requests == 1, "the workspace's own, for the description"
    assert found_in(shown(caught.value), who.secrets) == []


@pytest.mark.parametrize("name", NAMES)
def test_A4_whoever_dials_such_a_name_is_heard(canary: ScriptedServer, name: str) -> None:
    """The control."""
    with socket.create_connection((name, 443), timeout=5):
        canary.wait_until(lambda: len(canary.connections) == 1)


VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
    "SSLKEYLOGFILE",
)


@pytest.mark.parametrize("name", VARIABLES)
def test_T11_no_variable_has_a_say(
    door: Door, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    netrc, keys, ca = tmp_path / "netrc", tmp_path / "keys.log", tmp_path / "ca.pem"
    netrc.write_text("machine 127.0.0.1 login somebody password canary\n")
    ca.write_text(Path(authority.ca_file).read_text())  # contexts are kept by file
    with (
        ScriptedServer(echo()) as proxy,
        ScriptedServer(calls(echo()), tls=authority.good()) as server,
    ):
        values = {"NETRC": str(netrc), "SSLKEYLOGFILE": str(keys)}
        value = f"http://127.0.0.1:{proxy.port}" if "PROXY" in name else values.get(name, "/none")
        for spelled in (name, name.lower()):
            monkeypatch.setenv(spelled, value)
        who = Who(f"https://127.0.0.1:{server.port}", {"token": "dapi00aa"})
        client = door.open("m", who, ONCE.replace(tls=Tls(ca_file=str(ca))))
        assert door.predict(client, numbered(1)).predictions == ["1"]
        door.close(client)
        assert {one.headers["authorization"] for one in server.requests} == {"Bearer dapi00aa"}
        assert proxy.connections == []
        assert not keys.exists()
