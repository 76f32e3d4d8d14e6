"""The clients an exporter tells of: those that are open, and what closed ones have counted."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from servingclient._watching import Figured
from servingclient.telemetry import exported
from servingclient.telemetry.exported import Figures
from servingclient.telemetry.snapshot import Stats
from servingclient.transport.fork_lock import fork_lock

_log = logging.getLogger("servingclient.export")


@dataclass(slots=True)
class _Client:
    """One client, and what was last read of it.

    Attributes:
        found: Gives it, as long as it lives.
        last: What was last read.
        closed: Only what it has counted is told.
        held: Keeps it, with its APIs, from its closing until a reading finds no call under way:
            calls that were cut are noted by the threads that wake from them.
    """

    found: Callable[[], Figured | None]
    last: Figures = field(default_factory=dict)
    closed: bool = False
    held: tuple[Any, ...] = ()


@dataclass(slots=True)
class _Api:
    """One external API, under the endpoint of the client that was first to have it."""

    endpoint: str
    found: Callable[[], Any]
    last: Figures = field(default_factory=dict)


class Watched:
    """Clients and their APIs by identity, held weakly. Their counts never sink: what one that goes
    has counted stays.

    What is dropped without being closed leaves what it had counted when last read. A client that
    was closed is held until it is read once more, or until the next one comes.
    """

    def __init__(self) -> None:
        self._lock = fork_lock()
        self._pid = os.getpid()
        self._clients: dict[int, _Client] = {}
        self._apis: dict[int, _Api] = {}
        self._gone: Figures = {}

    def _renew_if_forked(self) -> None:
        """In a child, what the parent's clients have counted is the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._gone, self._apis = {}, {}
            opened = {key: one.found for key, one in self._clients.items() if not one.closed}
            self._clients = {number: _Client(found) for number, found in opened.items()}

    def add(self, client: Figured) -> None:
        """Tell of a client from now on. One that is told of already is not told of twice."""
        number = id(client)
        with self._lock:
            self._renew_if_forked()
            for key, one in list(self._clients.items()):
                if one.held or one.found() is None:
                    self._read(key)
            known = self._clients.get(number)
            if known is not None:
                if known.found() is client:
                    return
                self._leave(known.last)  # one that is gone had this number
            self._clients[number] = _Client(weakref.ref(client))

    def remove(self, client: Figured) -> None:
        """It is closed: what it has counted stays."""
        with self._lock:
            self._renew_if_forked()
            known = self._clients.get(id(client))
            if known is not None and not known.closed:
                known.closed, known.held = True, (client, client.apis)

    def figures(self) -> Figures:
        """Those of all clients, of one endpoint together. In a forked child they begin anew."""
        with self._lock:
            self._renew_if_forked()
            used = set()
            for number in list(self._clients):
                used.update(self._read(number))
            for number in list(self._apis):
                self._read_api(number, used=number in used)
            clients = (one.last for one in self._clients.values())
            apis = (one.last for one in self._apis.values())
            return exported.together((self._gone, *clients, *apis))

    def _read(self, number: int) -> set[int]:
        """Read a client; the numbers of the APIs that it uses now."""
        one = self._clients[number]
        client = one.found()
        if client is None:
            del self._clients[number]
            self._leave(one.last)
            return set()
        apis = client.apis
        for api in apis:
            self._meet(api, client.endpoint)
        stats = _stats(client)
        if stats is not None:
            one.last = exported.figures(stats)
        if not one.closed:
            return {id(api) for api in apis}
        one.last = exported.lasting(one.last)
        if stats is None or not (stats.concurrency.in_flight or stats.concurrency.waiting):
            for api in apis:
                self._read_api(id(api), used=False)
            one.held = ()
        return set()

    def _meet(self, api: Any, endpoint: str) -> None:
        known = self._apis.get(id(api))
        if known is not None:
            if known.found() is api:
                return
            self._leave(known.last)
        self._apis[id(api)] = _Api(endpoint, _weakly(api))

    def _read_api(self, number: int, *, used: bool) -> None:
        one = self._apis[number]
        api = one.found()
        if api is None:
            del self._apis[number]
            self._leave(one.last)
            return
        try:
            one.last = exported.figures_of_api(one.endpoint, api.stats())
        except Exception as error:  # noqa: BLE001 - what one cannot tell keeps nothing else back
            _log.warning("figures_failed endpoint=%s error=%r", one.endpoint, error)
        if not used:
            one.last = exported.lasting(one.last)

    def _leave(self, found: Figures) -> None:
        self._gone = exported.together((self._gone, exported.lasting(found)))


def _weakly(api: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(api)
    except TypeError:  # a class of the user's own, with slots
        return lambda: api


def _stats(client: Figured) -> Stats | None:
    """Its figures; None where they cannot be had: that must not keep the others back."""
    try:
        found: Stats = client.stats()
    except Exception as error:  # noqa: BLE001 - as above; the log says so
        _log.warning("figures_failed endpoint=%s error=%r", client.endpoint, error)
        return None
    return found
