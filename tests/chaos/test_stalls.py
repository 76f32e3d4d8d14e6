"""Rows 24 and 26: the server stands still for a while; then the caller's own event loop does."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from servingclient import AsyncServingClient, ServingClient, Settings
from tests.chaos.apart import Apart
from tests.chaos.endpoint import Sent
from tests.chaos.form import Form
from tests.chaos.kit import CLIENTS, Stage, rows
from tests.chaos.load import Caller, Phase
from tests.chaos.meter import Told, failed, longest_s, outcomes, those
from tests.chaos.workspace import ECHO, WorkspaceStage
from tests.faults.proxy import FaultProxy

# -- row 24 ---------------------------------------------------------------------------------------


class Standing:
    """An emulator in another process, read as ``kit.Stage`` reads its own endpoint."""

    def __init__(self, server: Apart) -> None:
        self.server = server
        self.port = server.port

    @property
    def sent(self) -> list[Sent]:
        return [
            Sent(str(one["client_request_id"]), one["received_at_s"], one["connection_id"])
            for one in self.server.requests(ECHO)
        ]

    @property
    def processed(self) -> Counter[str]:
        return self.server.executions(ECHO)

    def be_well(self) -> None:
        self.server.thaw()


@dataclass
class StandingStage(Stage):
    """Every other call may not run twice."""

    endpoint: Standing  # type: ignore[assignment]
    unsafe: set[str] = field(default_factory=set)

    def client(self, settings: Settings) -> Any:
        server = self.endpoint.server
        who = {"host": server.host, "token": server.token}
        if self.kind == "sync":
            return ServingClient(ECHO, settings=settings, **who)
        transport = None
        if self.kind == "httpx":
            transport = httpx.AsyncHTTPTransport()
            self._transports.append(transport)
        return AsyncServingClient(ECHO, settings=settings, transport=transport, **who)

    def caller(self, client: Any, options: dict[str, Any]) -> Caller:
        def call(call_id: str) -> Any:
            safe = int(call_id[1:]) // CLIENTS % 2 == 0
            if not safe:
                self.unsafe.add(call_id)
            return client.predict(
                [{"id": call_id}], client_request_id=call_id, idempotent=safe, **options
            )

        return call


@pytest.fixture
def standing(request: pytest.FixtureRequest, form: Form) -> Iterator[StandingStage]:
    with Apart({"name": ECHO, "echo": "id"}) as server, FaultProxy(server.port) as proxy:
        properties = request.node.user_properties
        yield StandingStage(form, request.param, Standing(server), proxy, properties)


@rows("lanes", "httpx", "sync", on="standing")
def test_chaos_24_the_server_is_stopped_by_a_signal(standing: StandingStage) -> None:
    form, server = standing.form, standing.endpoint.server
    with standing.judge(24) as judge:
        told = standing.play(10.0, server.freeze)
        judge.exactly(
            "errors", set(outcomes(failed(told.calls))) - {"DeadlineExceeded", "QueueFull"}, set()
        )
        judge.at_least("calls that failed", len(failed(told.calls)), 10)
        judge.in_time("slowest s", longest_s(told.calls), form.timeout_s + 0.25)
        judge.at_most("requests of a call", max(Counter(one.id for one in told.sent).values()), 1)
        unsafe = those(told.calls, lambda call: call.id in standing.unsafe)
        judge.at_most("runs of an unsafe call", told.most_processed(unsafe), 1)
        judge.in_time("recover s", told.recovery_s, 6.0)


# -- row 26 ---------------------------------------------------------------------------------------

STALLS = 3
WORK_S = 0.1
"""Of the model: some calls are always under way."""


def stalled(workspace: WorkspaceStage, settings: Settings, stall_s: float) -> Told:
    """Three stalls; the calls that come meanwhile are all made when the loop goes on."""
    form = workspace.form

    def stall() -> None:
        asyncio.get_running_loop().call_soon(threading.Event().wait, stall_s)

    workspace.emulator.change_endpoint(ECHO, service_time_s=WORK_S)
    gap_s = form.scaled_s(10.0)
    workspace.catches_up = True
    phases = [Phase(form.phase_s(20.0)), *[Phase(gap_s, stall)] * STALLS, Phase(gap_s)]
    return workspace.run(phases, settings)


def short_lived(workspace: WorkspaceStage) -> float:
    """Life of the tokens: no stall passes without some of them ending in it."""
    workspace.emulator.token_ttl_s = workspace.form.scaled_s(3.0)
    return workspace.emulator.token_ttl_s


@rows("lanes", "httpx", on="workspace")
def test_chaos_26_the_event_loop_stalls(workspace: WorkspaceStage) -> None:
    form, life_s = workspace.form, short_lived(workspace)
    # 5 s also in the short form: others who use the machine are no stall of ours
    stall_s, settings = max(1.0, form.scaled_s(2.0)), form.settings.replace(timeout_s=5.0)
    with workspace.judge(26) as judge:
        told = stalled(workspace, settings, stall_s)
        judge.told("stall s", stall_s)
        bad = failed(told.calls)
        if told.stall_s <= 2.0 * stall_s:
            judge.exactly("errors", dict(outcomes(bad)), {})
        else:  # the machine stood still for longer than anybody here
            judge.told("errors (not judged)", len(bad))
        judge.told("slowest s", longest_s(told.calls))
        lasted_s = told.over_s - min(call.began_s for call in told.calls)
        # a token is renewed when 92 % of its life are over
        most = CLIENTS * (1 + math.ceil(lasted_s / (0.92 * life_s)))
        judge.at_most("logins", workspace.emulator.token_requests, most)


@rows("lanes", "httpx", default=(), on="workspace")
def test_chaos_26_longer_than_a_call_has(workspace: WorkspaceStage) -> None:
    """Whoever was answered in time gets the answer, though nobody looked in time."""
    stall_s = max(1.0, workspace.form.scaled_s(2.0))
    timeout_s = stall_s / 2
    with workspace.judge(26, "stall > timeout") as judge:
        told = stalled(workspace, workspace.settings.replace(timeout_s=timeout_s), stall_s)
        judge.told("stall s", stall_s)
        began_s = {call.id: call.began_s for call in told.calls}
        answered = {
            str(one.client_request_id): one.decided_at_s
            for one in workspace.emulator.requests
            if one.kind == "invocation" and one.status == 200
        }
        bad = failed(told.calls)
        judge.exactly("errors", set(outcomes(bad)) - {"DeadlineExceeded", "QueueFull"}, set())
        false = [
            call
            for call in bad
            if answered.get(call.id, math.inf) < began_s[call.id] + timeout_s - WORK_S
        ]
        judge.told("errors in all", len(bad))
        if workspace.kind == "lanes":
            judge.exactly("answered in time and failed", len(false), 0)
        else:  # httpx reads an answer in several rounds of the loop, and the time-out comes first
            judge.told("answered in time and failed", len(false))
        # the stalls are no noise here, so that is not for ``in_time``
        spare_s = 0.25 if told.stall_s <= 1.5 * stall_s else told.stall_s
        judge.at_most("slowest s", longest_s(told.calls), stall_s + timeout_s + spare_s)
