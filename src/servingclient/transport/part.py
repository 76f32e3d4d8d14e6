"""A part of a client's connections: what one job has borrowed can be ended, and nothing else is.

A task is cancelled; a thread in a read is not. Shutting the socket under it is what ends it.
"""

from __future__ import annotations

import math
import threading
import time

from servingclient._ports import StreamedReply
from servingclient._types import Origin, Reply, Target
from servingclient.transport import faults, patched
from servingclient.transport.lane import Lane
from servingclient.transport.wire import LaneWire, SyncWire, after_failure, head_of


class JobEnded(BaseException):
    """Breaks off a call whose job was ended, as a cancel breaks off a task's.

    No ``Exception``, so nobody retries it or counts it as a failure: the endpoint did nothing
    wrong, and nobody waits for the answer.
    """


class PartWire:
    """Sends over ``wire`` until it is ended.

    Exchanges over lanes end at once. Those over an httpx transport run to their end: which of its
    sockets are whose, httpx does not tell.
    """

    def __init__(self, wire: SyncWire) -> None:
        self._wire = wire
        self._lanes: set[Lane] = set()
        self._lock = threading.Lock()  # a lane given back may be lent to another in that instant
        self._ended = False

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        self._refuse_if_ended()
        wire = self._wire
        if not isinstance(wire, LaneWire) or patched.sync_patched():
            return await wire.send(target, body, deadline_s, max_idle_s=max_idle_s)
        taken_s = time.monotonic()
        if taken_s >= deadline_s:
            raise faults.too_late(target.origin)
        lane = wire.pool.take(target.origin, taken_s, deadline_s, max_idle_s)
        try:
            self._borrow(lane)
            reply = lane.exchange(head_of(target, body), body, deadline_s)
        except BaseException as error:
            self._return(lane)
            after_failure(wire.pool, lane, taken_s, error)
            if self._ended:
                raise JobEnded from None
            raise
        self._return(lane)
        wire.pool.give(lane)
        return reply

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> StreamedReply:
        """See ``_ports.Wire.open``; streams are nobody's part."""
        return await self._wire.open(target, body, deadline_s, max_idle_s=max_idle_s)

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """See ``_ports.Wire.warm``."""
        await self._wire.warm(origin, count, deadline_s)

    def _borrow(self, lane: Lane) -> None:
        with self._lock:
            self._refuse_if_ended()
            self._lanes.add(lane)

    def _return(self, lane: Lane) -> None:
        with self._lock:
            self._lanes.discard(lane)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise JobEnded

    def end(self) -> None:
        """End the exchanges under way, and admit no more."""
        with self._lock:
            self._ended = True
            for lane in self._lanes:
                lane.abort()
