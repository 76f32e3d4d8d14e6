"""The lanes of a sync client: lent to one thread at a time, forgotten in a forked child."""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from servingclient._types import FaultKind, Origin, WireFault, is_loopback
from servingclient.errors import ConfigError
from servingclient.settings import Pool, Tls
from servingclient.transport.addresses import Refuses
from servingclient.transport.dial import dial
from servingclient.transport.exchange import Limits
from servingclient.transport.lane import Lane
from servingclient.transport.shelf import Shelf
from servingclient.transport.tls import ssl_context

_AGE_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Live figures of a pool.

    Attributes:
        busy: Lanes that carry a request now.
        idle: Lanes open and free.
        opened: Lanes opened since the start.
        stale: Reused lanes found dead.
        desyncs: Lanes closed because bytes followed the end of a reply.
    """

    busy: int
    idle: int
    opened: int
    stale: int
    desyncs: int

    def shown(self, origins: Iterable[Origin]) -> str:
        """The figures for a client's ``repr``."""
        hosts = ", ".join(map(str, origins)) or "no host yet"
        return f"{self.busy} lanes busy, {self.idle} idle, to {hosts}"


def check_security(origin: Origin, tls: Tls) -> None:
    """Plain http and unverified TLS are for this machine only.

    Raises:
        ConfigError: They were asked for on another host.
    """
    if (origin.scheme != "https" or not tls.verify) and not is_loopback(origin.host):
        what = "http://" if origin.scheme != "https" else "Tls(verify=False)"
        raise ConfigError(
            f"{what} is for this machine only, and {origin.host} is another: it would show the "
            "credential to everyone on the way. Use https:// with verification."
        )


def lane_life_s(pool: Pool) -> float:
    """How long the next lane may live: spread, so that lanes do not all reconnect at once."""
    return pool.max_age_s * random.uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)  # noqa: S311


class LanePool:
    """Lends lanes to threads. How many are in use at once is the gate's business.

    Attributes:
        refuses: Judges the addresses a host's name leads to; None takes any.
    """

    def __init__(self, settings: Pool, tls: Tls) -> None:
        self._shelves: dict[Origin, Shelf[Lane]] = {}
        self.settings = settings
        self._tls = tls
        self.refuses: Refuses | None = None
        self._limits = Limits(settings.max_head_bytes, settings.max_reply_bytes)
        self._busy: set[Lane] = set()
        self._opening: set[socket.socket] = set()
        self._pid = os.getpid()
        self._opened = self._stale = self._desyncs = 0
        self.closed: bool = False
        _pools.add(self)

    def take(
        self, origin: Origin, now_s: float, deadline_s: float, max_idle_s: float = math.inf
    ) -> Lane:
        """Lend a lane, warm if there is one.

        Raises:
            WireFault: None could be opened (nothing was sent).
            ConfigError: The origin may not be spoken to in this way.
        """
        if self._pid != os.getpid():
            self.forget()
        shelf = self._shelves.get(origin) or self._new_shelf(origin)
        lane = shelf.take(now_s, max_idle_s)
        if lane is None:
            lane = self._dial(origin, min(deadline_s, now_s + self.settings.connect_timeout_s))
        self._busy.add(lane)
        if self.closed:
            self.drop(lane)
            self._refuse_if_closed()
        return lane

    def give(self, lane: Lane) -> None:
        """Take a lane back after a whole exchange."""
        self._busy.discard(lane)
        if not lane.reusable:
            self._desyncs += lane.desynced
            lane.close()
            return
        shelf = self._shelves[lane.origin]
        now_s = time.monotonic()
        lane.used = True
        lane.idle_since_s = now_s
        if now_s >= shelf.prune_s:
            shelf.prune(now_s)
        shelf.idle.append(lane)
        if self.closed:
            shelf.clear()

    def give_unused(self, lane: Lane) -> None:
        """Take a lane back that nothing was sent on."""
        self._busy.discard(lane)
        self._shelve(self._shelves[lane.origin], lane)

    def drop(self, lane: Lane) -> None:
        """Close a lane whose exchange did not end well."""
        self._busy.discard(lane)
        lane.abort()  # a thread that still reads a stream would wait on, close or no close
        lane.close()

    def found_stale(self, lane: Lane, taken_s: float) -> None:
        """A reused lane was dead."""
        self._stale += 1
        self._shelves[lane.origin].died(taken_s - lane.idle_since_s, taken_s)

    def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Open ``count`` lanes ahead of the first calls."""
        shelf = self._shelves.get(origin) or self._new_shelf(origin)
        while len(shelf.idle) < count:
            self._shelve(shelf, self._dial(origin, deadline_s))

    def _shelve(self, shelf: Shelf[Lane], lane: Lane) -> None:
        lane.connect_s = 0.0  # no call waited for it
        lane.used = True
        lane.idle_since_s = time.monotonic()
        shelf.idle.append(lane)
        if self.closed:  # meanwhile, from another thread
            shelf.clear()

    def _new_shelf(self, origin: Origin) -> Shelf[Lane]:
        check_security(origin, self._tls)
        return self._shelves.setdefault(origin, Shelf(self.settings.keepalive_s))

    def _dial(self, origin: Origin, deadline_s: float) -> Lane:
        self._refuse_if_closed()
        context = ssl_context(self._tls) if origin.scheme == "https" else None
        try:
            lane = dial(origin, context, self._limits, deadline_s, self._opening, self.refuses)
        except WireFault:
            self._refuse_if_closed()  # that is why it failed
            raise
        lane.retire_s = time.monotonic() + lane_life_s(self.settings)
        self._opened += 1
        return lane

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")

    def close(self) -> None:
        """Close idle lanes and end what runs; its callers get ``CLOSED``."""
        self.closed = True
        for sock in list(self._opening):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for lane in list(self._busy):
            lane.abort()
        for shelf in list(self._shelves.values()):
            shelf.clear()

    def forget(self) -> None:
        """In a forked child: close the parent's descriptors and start anew.

        Sharing them would hand callers each other's predictions.
        """
        self._pid = os.getpid()
        inherited = [lane for shelf in self._shelves.values() for lane in shelf.idle]
        inherited.extend(self._busy)
        self._shelves = {}
        self._busy = set()
        self._opening = set()
        self._opened = self._stale = self._desyncs = 0
        for lane in inherited:
            lane.close()

    def stats(self) -> PoolStats:
        """Live figures."""
        idle = sum(len(shelf.idle) for shelf in self._shelves.values())
        return PoolStats(len(self._busy), idle, self._opened, self._stale, self._desyncs)

    def __repr__(self) -> str:
        return self.stats().shown(self._shelves)

    def __del__(self) -> None:
        # A client in a notebook is seldom closed; its idle sockets should not warn of that.
        for shelf in self._shelves.values():
            shelf.clear()


_pools: weakref.WeakSet[LanePool] = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
