"""A client of an external API cannot be made to call inside (server-side request forgery).

What a base URL may be is told in ``tests/enrichment/test_base_url.py``, values in paths in
``test_templates.py``, redirects in ``test_doors.py``. Here: what names lead to, whatever carries
the requests.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from servingclient import ConnectionFailed, EnrichmentSettings, Tls
from servingclient.settings import Retry
from tests.enrichment.kit import Door
from tests.scripted.certificates import Authority
from tests.scripted.server import ScriptedServer, echo, reply

NAMES = ("api.example", "localhost")
ONCE = EnrichmentSettings(retry=Retry(max_attempts=1))
INSIDE = {
    "metadata": ("169.254.169.254", "link-local"),
    "private": ("10.0.0.7", "private"),
    "this machine": ("127.0.0.1", "loopback"),
    "mapped": ("::ffff:127.0.0.1", "loopback"),
    "unspecified": ("0.0.0.0", "unspecified"),
}


@pytest.fixture(params=["sync", "async"])
def api(request: pytest.FixtureRequest) -> Iterator[Door]:
    """One colour of client of an external API."""
    door = Door(request.param)
    yield door
    door.end()


@pytest.fixture(params=["lanes", "patched httpx"])
def carried(request: pytest.FixtureRequest) -> Iterator[str]:
    """By what requests travel: with OpenTelemetry's patch in place, by httpx."""
    if request.param == "lanes":
        yield request.param
        return
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=TracerProvider())
    yield request.param
    instrumentor.uninstrument()


def leading_to(monkeypatch: pytest.MonkeyPatch, port: int, *addresses: str) -> None:
    """Have names lead to these addresses; those that are one stand for themselves."""

    def look_up(host: Any, asked: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        found = []
        for address in addresses if name in NAMES else [name]:
            six = ":" in address
            family = socket.AF_INET6 if six else socket.AF_INET
            place = (address, port, 0, 0) if six else (address, port)
            found.append((family, socket.SOCK_STREAM, 6, "", place))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("where", INSIDE)
def test_a_name_that_leads_inside_is_not_called(
    api: Door, carried: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    address, kind = INSIDE[where]
    with ScriptedServer(echo(lambda _: reply(b"[1]"))) as canary:
        leading_to(monkeypatch, canary.port, address)
        client = api.open(f"https://api.example:{canary.port}", ONCE, auth="canary-token")
        with pytest.raises(ConnectionFailed, match=f"{kind} address, which is not called"):
            api.run(client.get("/a"))
        assert canary.connections == []


def test_of_several_addresses_those_inside_are_passed_over(
    api: Door, carried: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is left is dialled; it is not resolved a second time, to something else."""
    with ScriptedServer(echo(), tls=authority.good()) as canary:
        leading_to(monkeypatch, canary.port, "127.0.0.1", "8.8.8.8")
        dialled: list[Any] = []

        def connect(self: socket.socket, place: Any) -> None:
            dialled.append(place[0])
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(socket.socket, "connect", connect)
        client = api.open(
            f"https://api.example:{canary.port}",
            ONCE.replace(tls=Tls(ca_file=authority.ca_file)),
        )
        with pytest.raises(ConnectionFailed):
            api.run(client.get("/a"))
        assert set(dialled) == {"8.8.8.8"}
        assert canary.connections == []


def test_what_is_allowed_arrives(
    api: Door, carried: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where such addresses are allowed they are called, and the first may be dead."""
    with ScriptedServer(echo(lambda _: reply(b"[1]")), tls=authority.good()) as server:
        leading_to(monkeypatch, server.port, "127.9.9.9", "127.0.0.1")
        rules = ONCE.replace(allow_private_hosts=True, tls=Tls(ca_file=authority.ca_file))
        client = api.open(f"https://localhost:{server.port}", rules)
        assert api.run(client.get("/a")).value == [1]


def test_a_mock_needs_no_name_that_resolves(api: Door) -> None:
    with respx.mock:
        respx.get("https://api.example/a").respond(json=[1])
        client = api.open("https://api.example", ONCE)
        assert api.run(client.get("/a")).value == [1]


def test_the_patch_is_what_carries(api: Door, carried: str) -> None:
    """The control of the fixture: with the patch, httpx is what dials."""
    instrumented = hasattr(httpx.HTTPTransport.handle_request, "__wrapped__")
    assert instrumented == (carried == "patched httpx")
