"""Row 21: the certificate expires while calls are made. What is open stays open."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from servingclient import AsyncServingClient, Settings
from servingclient.settings import Tls
from tests.chaos.endpoint import Endpoint
from tests.chaos.form import Form
from tests.chaos.kit import Kind, Stage
from tests.chaos.load import Caller
from tests.chaos.meter import failed, longest_s, outcomes, those
from tests.faults.proxy import FaultProxy
from tests.faults.rules import always
from tests.faults.tls import tls_expired
from tests.reliability.kit import at, numbered
from tests.scripted.certificates import Authority

FRESH_EVERY = 10
"""One call in so many is made by a client that has no connection yet."""


@dataclass
class TlsStage(Stage):
    """As the matrix' own, behind TLS, and with clients who are new in between."""

    trusted: ssl.SSLContext | None = None
    fresh: set[str] = field(default_factory=set)
    _made: int = 0

    def client(self, settings: Settings) -> Any:
        if self.kind == "lanes":
            return super().client(settings)
        assert self.trusted is not None
        transport = httpx.AsyncHTTPTransport(verify=self.trusted)
        self._transports.append(transport)
        who = at(self.proxy)  # type: ignore[arg-type]
        return AsyncServingClient(
            "m", host=who.host, **who.arguments, settings=settings, transport=transport
        )

    def caller(self, client: Any, options: dict[str, Any]) -> Caller:
        async def call(call_id: str) -> Any:
            self._made += 1
            if self._made % FRESH_EVERY:
                return await client.predict(numbered(call_id), **options)
            self.fresh.add(call_id)
            async with self.client(client.settings) as new:
                return await new.predict(numbered(call_id), **options)

        return call


def stages(*kinds: Kind) -> Any:
    marked = [kinds[0], *(pytest.param(kind, marks=pytest.mark.soak) for kind in kinds[1:])]
    return pytest.mark.parametrize("stage", marked, indirect=True)


@pytest.fixture
def stage(request: pytest.FixtureRequest, form: Form, authority: Authority) -> Iterator[TlsStage]:
    with (
        Endpoint() as endpoint,
        FaultProxy(endpoint.port, tls=authority.good()) as proxy,
    ):
        properties = request.node.user_properties
        yield TlsStage(form, request.param, endpoint, proxy, properties, trusted=authority.client())


@stages("lanes", "httpx")
def test_chaos_21_the_certificate_expires(stage: TlsStage, authority: Authority) -> None:
    # without a description, which would be asked for over a connection of its own
    settings = stage.settings.replace(describe=False, tls=Tls(ca_file=authority.ca_file))
    expired = always(tls_expired(authority))
    with stage.judge(21) as judge:
        told = stage.play(30.0, lambda: stage.proxy.use(expired), settings=settings)
        judge.exactly("errors", set(outcomes(failed(told.calls))), {"TLSError"}, timed=True)
        old = those(told.during, lambda call: call.id not in stage.fresh)
        new = those(told.during, lambda call: call.id in stage.fresh)
        judge.exactly("on open lanes", set(outcomes(old)), {"ok"}, timed=True)
        judge.exactly("on new ones", set(outcomes(new)), {"TLSError"}, timed=True)
        judge.exactly("most tries", max(call.tries for call in new), 1)
        refused = [count for count in stage.proxy.counts if count.closed == "refused"]
        judge.exactly("handshakes", len(refused), len(new), timed=True)
        judge.in_time("slowest refusal s", longest_s(new), 0.5)
        judge.in_time("recover s", told.recovery_s, stage.form.window_s / 5)
