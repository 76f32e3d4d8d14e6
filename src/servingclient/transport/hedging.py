"""Two blocking requests at once, without a second thread: one ``poll`` over both lanes."""

from __future__ import annotations

import time
from typing import NamedTuple

from servingclient._ports import Hedged, Second
from servingclient._types import Origin, Reply, Target, WireFault
from servingclient.errors import ConfigError
from servingclient.policies.hedge import End, choice
from servingclient.transport import faults, patched
from servingclient.transport.lane import Lane
from servingclient.transport.pool import LanePool
from servingclient.transport.readiness import await_any
from servingclient.transport.wire import LaneWire, SyncWire, after_failure, head_of

_DIAL_DELAYS = 3.0
_DIAL_CPU_S = 0.02
"""While the second lane is dialled nobody looks at the first, so that has a bound: a connection
takes up to three round trips, and the delay is no less than one; then there is the handshake."""


class LaneHedger:
    """Hedges over the lanes of a blocking client.

    While httpx is patched (mocks, tracing) nothing is sent twice.

    Args:
        wire: The client's own.

    Raises:
        ConfigError: The client sends over httpx, which cannot be waited for in two places.
    """

    def __init__(self, wire: SyncWire) -> None:
        if not isinstance(wire, LaneWire):
            raise ConfigError(
                "Settings.hedge needs the own connections of a ServingClient: leave out transport= "
                "and Settings.proxy, or hedge with an AsyncServingClient, which can over any."
            )
        self._wire = wire

    async def send(
        self,
        target: Target,
        body: bytes,
        deadline_s: float,
        *,
        max_idle_s: float,
        after_s: float,
        second: Second,
    ) -> Hedged:
        """See ``_ports.HedgingWire.send``."""
        if patched.sync_patched():
            return Hedged(await self._wire.send(target, body, deadline_s, max_idle_s=max_idle_s))
        job = _Job(target.origin, head_of(target, body), body, deadline_s, max_idle_s)
        came = _Race(self._wire.pool, job, after_s).run(second)
        if isinstance(came, Hedged):
            return came
        try:
            raise came
        finally:
            del came  # its traceback holds this frame, and with it the request, until a collection


class _Job(NamedTuple):
    """What both requests have in common."""

    origin: Origin
    head: bytes
    body: bytes
    deadline_s: float
    max_idle_s: float


class _Request:
    """One of the requests, on its lane.

    Attributes:
        reply: What it was answered, once all of it has come.
        fault: Why it will not be answered.
    """

    def __init__(self, pool: LanePool, lane: Lane, taken_s: float) -> None:
        self._pool = pool
        self._taken_s = taken_s
        self._sent_s = self._first_byte_s = 0.0
        self.lane = lane
        self.reply: Reply | None = None
        self.fault: WireFault | None = None

    @property
    def end(self) -> End:
        """How it stands."""
        if self.reply is not None:
            return self.reply.status
        return "running" if self.fault is None else "broken"

    @property
    def running(self) -> bool:
        """It has neither reply nor fault."""
        return self.end == "running"

    def begin(self, job: _Job, give_up_s: float) -> None:
        """Send it."""
        try:
            done = self.lane.begin(job.head, job.body, give_up_s)
        except WireFault as fault:
            self.fail(fault)
            return
        self._sent_s = self._first_byte_s = time.monotonic()
        if done:
            self._finish()

    def take_in(self, wait_s: float = 0.0) -> None:
        """Read what comes of its reply within ``wait_s``."""
        begun = self.lane.begun
        try:
            done = self.lane.take_in(wait_s)
        except WireFault as fault:
            self.fail(fault)
            return
        if not begun:
            self._first_byte_s = time.monotonic()
        if done:
            self._finish()

    def _finish(self) -> None:
        self.reply = self.lane.reply(self._sent_s, self._first_byte_s)
        self._pool.give(self.lane)

    def fail(self, fault: WireFault) -> None:
        """It will not be answered."""
        after_failure(self._pool, self.lane, self._taken_s, fault)
        # Its traceback and that of its cause hold this frame and all above it, and those the fault.
        self.fault = fault.with_traceback(None)
        fault.__context__ = None

    def drop(self) -> None:
        """Nobody waits for it any more: an answer that still came would be another call's."""
        if self.running:
            self._pool.drop(self.lane)


class _Race:
    """One call: a first request, and perhaps a second."""

    def __init__(self, pool: LanePool, job: _Job, after_s: float) -> None:
        self._pool = pool
        self._job = job
        self._after_s = after_s
        self._requests: list[_Request] = []

    def run(self, second: Second) -> Hedged | WireFault:
        """Bring it to its end."""
        try:
            first = self._start_first()
            now_s = time.monotonic()
            until_s = min(now_s + self._after_s, self._job.deadline_s)
            while first.running and now_s < until_s:
                first.take_in(until_s - now_s)
                now_s = time.monotonic()
            if first.running and now_s < self._job.deadline_s:
                self._start_second(first, second)
            while (came := self._outcome()) is None:
                self._take_in_both()
            return came
        finally:
            for request in self._requests:
                request.drop()

    def _start_first(self) -> _Request:
        job, taken_s = self._job, time.monotonic()
        if taken_s >= job.deadline_s:
            raise faults.too_late(job.origin)
        lane = self._pool.take(job.origin, taken_s, job.deadline_s, job.max_idle_s)
        request = self._on(lane, taken_s)
        request.begin(job, job.deadline_s)
        return request

    def _on(self, lane: Lane, taken_s: float) -> _Request:
        """A request, not sent yet; from here on its lane is closed or given back in any case."""
        self._requests.append(_Request(self._pool, lane, taken_s))
        return self._requests[-1]

    def _start_second(self, first: _Request, second: Second) -> None:
        """Send it again, if that may be and can be."""
        if not second.admitted():
            return
        job, taken_s = self._job, time.monotonic()
        wait_s = _DIAL_DELAYS * self._after_s + _DIAL_CPU_S
        give_up_s = min(job.deadline_s, taken_s + wait_s)
        try:
            lane = self._pool.take(job.origin, taken_s, give_up_s, job.max_idle_s)
        except WireFault:  # it has cost what a hedge costs: where dials fail these must end
            return
        request = self._on(lane, taken_s)
        first.take_in()
        if first.running:
            request.begin(job, give_up_s)
        else:  # answered during the dial
            self._requests.remove(request)
            self._pool.give_unused(lane)
            second.unsent()

    def _take_in_both(self) -> None:
        deadline_s = self._job.deadline_s
        running = [request for request in self._requests if request.running]
        ready = await_any([r.lane for r in running], deadline_s - time.monotonic())
        late = not ready and time.monotonic() >= deadline_s
        for request in running:
            if request.lane in ready:
                request.take_in()
            elif late:
                request.fail(request.lane.late())

    def _outcome(self) -> Hedged | WireFault | None:
        """What the call gets; None as long as a better end is possible."""
        requests = self._requests
        chosen = choice([request.end for request in requests])
        if chosen is None:
            return None
        reply = requests[chosen].reply
        if reply is None:
            return requests[chosen].fault
        other = requests[1 - chosen].reply if len(requests) > 1 else None
        return Hedged(reply, chosen > 0, other)
