"""Rows 19 and 20: tokens that cannot be had, and tokens that are worth nothing any more."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import httpx
import pytest

from servingclient import Settings
from servingclient.emulator import Emulator, Fault, faults
from servingclient.settings import Concurrency, Pool, Token
from tests.chaos.form import Form
from tests.chaos.judge import Judge
from tests.chaos.kit import CLIENTS, rows
from tests.chaos.meter import longest_s, outcomes, quantile, those
from tests.chaos.workspace import ECHO, WorkspaceStage
from tests.doors.kit import Door, errors, invocations, principal
from tests.faults.proxy import FaultProxy
from tests.faults.rules import always
from tests.faults.toxics import Latency

LIFE_S = 130.0
"""Of a token: issued at 0 s, it is renewed from 52 to 65 s on; the fault outlives it by 25 s."""
BEFORE_S, FAULT_S = 35.0, 120.0
SURELY_S = 0.25
"""After which all of the tokens are over: clients get them with their first calls."""
WITHOUT_TOKEN = {"AuthError", "TokenRefreshError", "DeadlineExceeded", "QueueFull"}
LEAST_TRY_S = 0.5
"""However short the form: a busy machine takes a while for a login."""


def settings(form: Form) -> Settings:
    """All that has to do with the life of a token is as short as the form; 1 is the default."""
    rules, scale = Token(), min(form.scale, 1.0)
    token = replace(
        rules,
        refresh_jitter_s=rules.refresh_jitter_s * scale,
        margin_s=rules.margin_s * scale,
        try_timeout_s=max(LEAST_TRY_S, rules.try_timeout_s * scale),
        timeout_s=max(2 * LEAST_TRY_S, rules.timeout_s * scale),
        cooldown_s=rules.cooldown_s * max(scale, 0.1),
        cooldown_cap_s=rules.cooldown_cap_s * max(scale, 0.1),
    )
    return form.settings.replace(token=token)


@contextmanager
def counting_logins(workspace: WorkspaceStage) -> Iterator[list[int]]:
    """How many wait for an answer at once, looked at every 20 ms."""
    seen, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen.append(len(workspace.logins()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


ILL: dict[str, Callable[[Form], Fault]] = {
    "hung": lambda _: faults.hang(),
    "500": lambda _: faults.empty(500),
    "slow": lambda form: faults.slow(3.0 * min(form.scale, 1.0)),
}


@pytest.mark.parametrize(
    "how",
    ["hung", "500", "slow"],
)
@rows("lanes", "httpx", "sync", default=(), on="workspace")  # A1 has a short form
def test_chaos_19_the_login_service_is_ill(workspace: WorkspaceStage, how: str) -> None:
    form, emulator = workspace.form, workspace.emulator
    emulator.token_ttl_s = LIFE_S * form.scale
    fault: Fault = ILL[how](form)
    logins: list[int] = []

    def begin() -> None:
        logins.append(emulator.token_requests)
        emulator.token_always(fault)

    def end() -> None:
        logins.append(emulator.token_requests)
        emulator.token_always(None)
        emulator.token_ttl_s = 3600.0
        workspace.hang_up_on_logins()

    with workspace.judge(19, how) as judge, counting_logins(workspace) as at_once:
        told = workspace.play(
            FAULT_S, begin, end, settings=settings(form), before_s=BEFORE_S, after_s=60.0
        )
        issued_s = [
            one.decided_at_s
            for one in emulator.requests
            if one.kind == "token" and one.status == 200 and one.decided_at_s < told.fault_s[0]
        ]
        first_s, last_s = (at_s + LIFE_S * form.scale for at_s in (min(issued_s), max(issued_s)))
        alive = those(told.during, lambda call: call.ended_s < first_s)
        over_s = told.fault_s[1]
        dead = those(
            told.during, lambda call: call.began_s >= last_s + SURELY_S and call.ended_s < over_s
        )
        waited_s = [workspace.token_s.get(call.id, math.inf) for call in alive]
        judge.exactly("while it lives", set(outcomes(alive)), {"ok"}, timed=True)
        judge.at_most("added p99 ms", 1e3 * quantile(waited_s, 0.99), 5.0, timed=True)
        if how == "slow":
            judge.exactly("afterwards", set(outcomes(dead)), {"ok"}, timed=True)
        else:
            told_so = those(dead, lambda call: call.outcome in WITHOUT_TOKEN)
            judge.exactly("afterwards told so", len(told_so), len(dead))
        judge.at_least("calls past its end", len(dead), 10)
        judge.in_time("slowest s", longest_s(told.calls), form.timeout_s + 0.25)
        judge.at_most("logins at once", max(at_once), CLIENTS)
        judge.told("logins a client", (logins[1] - logins[0]) / CLIENTS)
        judge.in_time("heals s", told.recovery_s, 2.0)


IN_FLIGHT = 64
TRANSPORTS: dict[tuple[str, str], Callable[[], Any] | None] = {
    ("lanes", "sync"): None,
    ("lanes", "async"): None,
    ("httpx", "sync"): httpx.HTTPTransport,
    ("httpx", "async"): httpx.AsyncHTTPTransport,
}


@pytest.mark.parametrize("transport", ["lanes", pytest.param("httpx", marks=pytest.mark.soak)])
@pytest.mark.parametrize("colour", ["sync", pytest.param("async", marks=pytest.mark.soak)])
def test_chaos_20_the_token_is_revoked(
    request: pytest.FixtureRequest, form: Form, colour: Literal["sync", "async"], transport: str
) -> None:
    settings = Settings(
        concurrency=Concurrency(adaptive=False, initial_calls=IN_FLIGHT),
        pool=Pool(max_httpx_calls=IN_FLIGHT),
    )
    judge = Judge(20, f"{transport} {colour}", request.node.user_properties)
    with judge, Emulator(tls=False, expired_status=401) as emulator:
        emulator.add_endpoint(ECHO, echo="id")
        port = int(emulator.host.rpartition(":")[2])
        # replies are late, so that all have been sent before the first is refused
        with FaultProxy(port, always(Latency(0.5))) as proxy:
            who = principal(emulator)._replace(host=f"http://127.0.0.1:{proxy.port}")
            door, kind = Door(colour), TRANSPORTS[transport, colour]
            told = []
            for _ in range(max(2, round(50 * form.scale))):  # once is once: a client for each
                client = door.open(ECHO, who, settings, transport=kind() if kind else None)
                told.append(revoked(door, client, emulator))
            door.end()
        judge.told("times", len(told))
        judge.exactly("errors", sum(one.errors for one in told), 0)
        judge.exactly("most logins", max(one.logins for one in told), 1)
        judge.at_most("most requests", max(one.requests for one in told), 2 * IN_FLIGHT)
        judge.told("least requests", min(one.requests for one in told))


class Revoked(NamedTuple):
    """What came of 64 calls whose token had just been revoked."""

    errors: int
    logins: int
    requests: int


def revoked(door: Door, client: Any, emulator: Emulator) -> Revoked:
    good = door.many(client, ({"inputs": [{"id": str(n)}]} for n in range(4)))
    assert errors(good) == []
    emulator.revoke_tokens()
    logins, requests = emulator.token_requests, len(invocations(emulator))
    found = door.many(client, ({"inputs": [{"id": str(n)}]} for n in range(IN_FLIGHT)))
    wrong = [n for n, one in enumerate(found) if getattr(one, "predictions", None) != [str(n)]]
    return Revoked(
        len(wrong), emulator.token_requests - logins, len(invocations(emulator)) - requests
    )
