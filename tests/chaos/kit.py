"""How a row of the matrix is told.

::

    @rows("lanes", "httpx")                                 # which clients; see below
    def test_chaos_01_503_all(stage: Stage) -> None:
        with stage.judge(1) as judge:
            told = stage.play(60.0, begin=lambda: stage.endpoint.answer(UNAVAILABLE))
            judge.at_most("amp", told.amplification(), 1.10)

``play`` makes eight clients, calls 50 times a second through the fault proxy (a minute of steady
load, the fault, another minute; scaled by the form), ends the fault by ``stage.heal`` and returns a
``Told`` (``meter.py``). It already asserts what holds in every row: one outcome for each call,
nobody got another one's answer, no lane or place is held afterwards, no quota is out of bounds.

``stage.endpoint`` (``endpoint.py``) says what the model answers; ``stage.proxy``
(``tests/faults``) what the network does. ``stage.form`` says how long things take and holds the
time-outs: write limits as ``stage.form.timeout_s + 0.25``, never as 5.25.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import httpx
import pytest

from servingclient import AsyncServingClient, ServingClient, Settings
from servingclient.settings import Tls
from tests.chaos.endpoint import Endpoint
from tests.chaos.form import Form
from tests.chaos.judge import Judge
from tests.chaos.load import Caller, Load, Phase
from tests.chaos.meter import Left, Sample, Told
from tests.faults.proxy import FaultProxy
from tests.faults.rules import nothing
from tests.reliability.kit import at, numbered
from tests.scripted.server import eventually, eventually_async

Kind = Literal["lanes", "httpx", "sync", "tls", "sync tls"]
"""Async over lanes, async over an httpx transport, threads over lanes; lanes over TLS."""

PER_S = 50.0
CLIENTS = 8
STEADY_S = 60.0
PATIENT = Settings(timeout_s=5.0)
SETTLED_WITHIN_S = 3.0
"""Time in which lanes of calls that were given up are put away."""


def rows(*kinds: Kind, default: tuple[Kind, ...] = ("lanes",), on: str = "stage") -> Any:
    """Tell a row for these clients; only those in ``default`` are part of the default suite.

    Args:
        *kinds: The clients.
        default: Those of the default suite.
        on: The fixture; ``"workspace"`` is an emulator's.
    """
    marked = [
        kind if kind in default else pytest.param(kind, marks=pytest.mark.soak) for kind in kinds
    ]
    return pytest.mark.parametrize(on, marked, indirect=True)


@dataclass
class Stage:
    """One row's endpoint, proxy and form.

    Attributes:
        form: How long things take.
        kind: Which clients.
        endpoint: The model.
        proxy: The network before it.
        properties: The test's, for the table.
        in_a_row: Calls that each caller makes one right after the other (``Load``).
        catches_up: Calls that are late are made all at once (``Load``).
        ca_file: The authority whose certificate the proxy presents, if it speaks TLS.
    """

    form: Form
    kind: Kind
    endpoint: Endpoint
    proxy: FaultProxy
    properties: list[tuple[str, object]]
    in_a_row: int = field(default=1, kw_only=True)
    catches_up: bool = field(default=False, kw_only=True)
    ca_file: str | None = field(default=None, kw_only=True)
    _judge: Judge | None = None
    _transports: list[httpx.AsyncHTTPTransport] = field(default_factory=list)

    @property
    def blocking(self) -> bool:
        """Calls are made in threads."""
        return self.kind in ("sync", "sync tls")

    def judge(self, row: int, variant: str = "") -> Judge:
        """Collects the checks of this row; what is played from now on tells it of noise."""
        self._judge = Judge(row, f"{self.kind} {variant}".strip(), self.properties)
        return self._judge

    @property
    def settings(self) -> Settings:
        """The default settings, with the form's time-out."""
        return self.form.settings

    @property
    def patient(self) -> Settings:
        """The same with 5 s in every form, for rows in which nothing has to time out."""
        return PATIENT

    def heal(self) -> None:
        """End every fault."""
        self.endpoint.be_well()
        self.proxy.use(nothing)
        self.proxy.listen()

    def play(
        self,
        fault_s: float,
        begin: Callable[[], object],
        end: Callable[[], object] | None = None,
        *,
        settings: Settings | None = None,
        per_s: float = PER_S,
        clients: int = CLIENTS,
        before_s: float = STEADY_S,
        after_s: float = STEADY_S,
        least_fault_s: float = 1.5,
        **options: Any,
    ) -> Told:
        """Steady load, a fault, steady load; all times are those of the long form.

        Args:
            fault_s: How long the fault lasts.
            begin: Begins it.
            end: Ends it; ``heal`` if None.
            settings: Of the clients; the form's if None.
            per_s: Calls a second over all clients.
            clients: How many clients share them.
            before_s: Steady load before.
            after_s: Steady load after; never less than two windows of recovery, and the time of a
                call where calls time out.
            least_fault_s: The fault lasts at least so long in short forms.
            **options: Arguments of each ``predict``.
        """
        form = self.form
        chosen = self.settings if settings is None else settings
        late_s = form.timeout_s if chosen.timeout_s <= form.timeout_s else 0.0
        least_s = late_s + 2.0 * form.window_s
        phases = [
            Phase(form.phase_s(before_s, 0.5)),
            Phase(form.phase_s(fault_s, least_fault_s), begin),
            Phase(max(form.phase_s(after_s, 0.5), least_s), end or self.heal),
        ]
        return self.run(phases, chosen, per_s=per_s, clients=clients, **options)

    def run(
        self,
        phases: list[Phase],
        settings: Settings,
        *,
        per_s: float = PER_S,
        clients: int = CLIENTS,
        **options: Any,
    ) -> Told:
        """Any phases of load; the second one is the fault."""
        run = self._run_threads if self.blocking else self._run_tasks
        load, left, samples = run(phases, settings, per_s, clients, options)
        turned_s = load.turned_s
        told = Told(
            calls=load.calls,
            sent=self.endpoint.sent,
            processed=self.endpoint.processed,
            started=load.started,
            fault_s=(turned_s[1], turned_s[2]),
            over_s=turned_s[-1],
            window_s=self.form.window_s,
            left=left,
            samples=samples,
            stall_s=load.stall_s,
            lost_s=load.lost_s,
        )
        if self._judge is not None:
            self._judge.stall_s, self._judge.noise = told.stall_s, told.noise
        check_every_row(told, settings)
        return told

    # -- clients ----------------------------------------------------------------------------------

    def client(self, settings: Settings) -> Any:
        """One client of this kind; an async one needs a running loop."""
        who = at(self.proxy)  # type: ignore[arg-type]
        if self.ca_file is not None:
            settings = settings.replace(tls=Tls(ca_file=self.ca_file))
        if self.blocking:
            return ServingClient("m", host=who.host, **who.arguments, settings=settings)
        transport = None
        if self.kind == "httpx":
            transport = httpx.AsyncHTTPTransport()
            self._transports.append(transport)
        return AsyncServingClient(
            "m", host=who.host, **who.arguments, settings=settings, transport=transport
        )

    def caller(self, client: Any, options: dict[str, Any]) -> Caller:
        """How one client is called."""
        return lambda call_id: client.predict(numbered(call_id), **options)

    def held(self, fleet: list[Any]) -> tuple[int, int]:
        """Connections that carry a request, and places that are taken."""
        stats = [client.stats() for client in fleet]
        pools: list[Any] = [transport._pool for transport in self._transports]
        busy = sum(one.lanes.busy for one in stats if one.lanes is not None)
        busy += sum(len(p._requests) + sum(not c.is_idle() for c in p.connections) for p in pools)
        return busy, sum(one.concurrency.in_flight for one in stats)

    def _run_tasks(
        self, phases: list[Phase], settings: Settings, per_s: float, clients: int, options: Any
    ) -> tuple[Load, Left, list[Sample]]:
        async def play() -> tuple[Load, Left, list[Sample]]:
            fleet = [self.client(settings) for _ in range(clients)]
            try:
                samples: list[Sample] = []
                callers = [self.caller(client, options) for client in fleet]
                sample = partial(_keep_sample, samples, fleet)
                load = Load(callers, phases, per_s, sample, self.in_a_row, self.catches_up)
                cpu_s = time.thread_time()
                await load.run()
                cpu_s = time.thread_time() - cpu_s
                await eventually_async(lambda: self.held(fleet) == (0, 0), SETTLED_WITHIN_S)
                return load, _left(fleet, self.held(fleet), cpu_s), samples
            finally:
                for client in fleet:
                    await client.aclose()
                self._transports.clear()

        return asyncio.run(play())

    def _run_threads(
        self, phases: list[Phase], settings: Settings, per_s: float, clients: int, options: Any
    ) -> tuple[Load, Left, list[Sample]]:
        fleet = [self.client(settings) for _ in range(clients)]
        try:
            samples: list[Sample] = []
            callers = [self.caller(client, options) for client in fleet]
            sample = partial(_keep_sample, samples, fleet)
            load = Load(callers, phases, per_s, sample, self.in_a_row, self.catches_up)
            load.run_threads()
            eventually(lambda: self.held(fleet) == (0, 0), SETTLED_WITHIN_S)
            return load, _left(fleet, self.held(fleet), 0.0), samples
        finally:
            for client in fleet:
                client.close()


def check_every_row(told: Told, settings: Settings) -> None:
    """What holds whatever was wrong."""
    ids = [call.id for call in told.calls]
    assert len(ids) == told.started, "each call has an outcome"
    assert len(set(ids)) == told.started, "and only one"
    wrong = [call.id for call in told.calls if call.outcome == "WRONG"]
    assert not wrong, f"answers of other calls: {wrong}"
    assert (told.left.busy_lanes, told.left.in_flight) == (0, 0), "nothing is held afterwards"
    capacity = settings.retry.quota_capacity
    assert all(0 <= quota <= capacity for quota in told.left.quotas), told.left.quotas
    tries = {call.id: call.tries for call in told.calls}
    for call_id, times in told.processed.items():
        assert times <= tries[call_id], f"{call_id} ran {times} times in {tries[call_id]} tries"


def _keep_sample(samples: list[Sample], fleet: list[Any]) -> None:
    found = [client.stats().concurrency for client in fleet]
    sample = Sample(
        time.monotonic(),
        sum(one.in_flight for one in found),
        sum(one.waiting for one in found),
        max(one.in_flight for one in found),
        max(one.limit for one in found),
    )
    samples.append(sample)


def _left(fleet: list[Any], held: tuple[int, int], cpu_s: float) -> Left:
    quotas = tuple(client.stats().retry_quota for client in fleet)
    return Left(held[0], held[1], quotas, cpu_s)
