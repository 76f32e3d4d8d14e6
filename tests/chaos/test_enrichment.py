"""Row 23: the API that predictions are enriched from fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from servingclient import (
    CircuitOpen,
    EnrichmentClient,
    EnrichmentSettings,
)
from servingclient.emulator import Emulator
from servingclient.settings import Breaker
from tests.chaos.form import Form
from tests.chaos.kit import CLIENTS, rows
from tests.chaos.meter import outcomes, quantile, those
from tests.chaos.workspace import JOURNAL_LIMIT, Emulated, WorkspaceStage
from tests.faults.proxy import FaultProxy


@dataclass
class EnrichedStage(WorkspaceStage):
    """Every other client has an answer for when the API has none."""

    users: EnrichmentClient | None = None
    made: int = 0
    refused_s: list[float] = field(default_factory=list)
    opened_s: list[float] = field(default_factory=list)
    """When a call was refused, time.monotonic."""

    def more(self) -> dict[str, Any]:
        self.made += 1
        raises = self.made % 2
        return {
            "enrich": self.enrich,
            "on_enrichment_error": "raise" if raises else lambda given, _error: given,
        }

    def enrich(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self.users is not None
        began_s = time.perf_counter()
        try:
            found = self.users.get("/users/{id}", id=int(given[0]["id"][1:]) % 10_000 + 1)
        except CircuitOpen:
            self.refused_s.append(time.perf_counter() - began_s)
            self.opened_s.append(time.monotonic())
            raise
        return [{**row, "score": found.value["score"]} for row in given]


def rules(form: Form) -> Breaker:
    """The default breaker, whose times are as short as the form."""
    part = min(1.0, form.scale)
    return Breaker(open_s=5.0 * part, max_open_s=60.0 * part, probe_lease_s=10.0 * part)


SETTLED_S = 0.5
"""By then the requests have ended that were under way when it opened."""


@pytest.fixture
def enriched(request: pytest.FixtureRequest, form: Form) -> Iterator[EnrichedStage]:
    with Emulator(tls=False, journal_limit=JOURNAL_LIMIT) as emulator:
        made, properties = Emulated(emulator), request.node.user_properties
        settings = EnrichmentSettings(allow_private_hosts=True, breaker=rules(form))
        url = emulator.external.base_url
        with (
            FaultProxy(made.port) as proxy,
            EnrichmentClient(url, ttl=0.0, settings=settings) as users,
        ):
            yield EnrichedStage(form, request.param, made, proxy, properties, users=users)


def probes(requests_s: list[float], part: float) -> int:
    """The most requests in any ten seconds."""
    return max(
        (sum(at_s <= other < at_s + 10.0 * part for other in requests_s) for at_s in requests_s),
        default=0,
    )


@rows("lanes", "httpx", "sync", default=(), on="enriched")
def test_chaos_23_the_api_fails(enriched: EnrichedStage) -> None:
    form, api = enriched.form, enriched.emulator.external
    part = min(1.0, form.scale)
    with enriched.judge(23) as judge:
        told = enriched.play(60.0, api.go_down, api.come_back, after_s=120.0)
        begun_s, over_s = told.fault_s
        asked_s = [
            one.received_at_s for one in api.requests if begun_s <= one.received_at_s < over_s
        ]
        opened_s = next(at_s for at_s in sorted(enriched.opened_s) if at_s >= begun_s)
        until_open = [at_s for at_s in asked_s if at_s <= opened_s]
        judge.told("open after s", opened_s - begun_s)
        judge.told("after requests", len(until_open))
        judge.exactly(
            "within 20 calls or 2 s",
            len(until_open) <= 20 or opened_s - begun_s <= 2.0,
            True,
            timed=True,
        )
        after = [at_s for at_s in asked_s if at_s > opened_s + SETTLED_S]
        judge.at_most("requests in 10 s then", probes(after, part), 3)
        judge.at_most("refusal p50 ms", 1e3 * quantile(enriched.refused_s, 0.5), 1.0, timed=True)
        judge.told("refusal p99 ms", 1e3 * quantile(enriched.refused_s, 0.99))
        strict = those(told.during, lambda call: int(call.id[1:]) % CLIENTS % 2 == 0)
        lenient = those(told.during, lambda call: int(call.id[1:]) % CLIENTS % 2 == 1)
        judge.exactly("where it is filled in", set(outcomes(lenient)), {"ok"}, timed=True)
        shut = those(strict, lambda call: call.began_s > opened_s + SETTLED_S)
        judge.exactly(
            "where it raises",
            set(outcomes(shut)) <= {"CircuitOpen", "ServerError"},
            True,
            timed=True,
        )
        judge.exactly("steady", set(outcomes(told.before)), {"ok"}, timed=True)
        judge.told("recover s", told.recovery_s)
