"""The clients an exporter tells of: those that are open, and what closed ones have counted."""

from __future__ import annotations

import logging
import os
import weakref

from servingclient._ports import Figured
from servingclient.telemetry import exported
from servingclient.telemetry.exported import Figures
from servingclient.transport.fork_lock import ForkLock

_log = logging.getLogger("servingclient.export")


class Watched:
    """Clients by identity, held weakly. Their counts never sink: who goes leaves its own here.

    A client that is dropped without being closed leaves what it had counted when last read.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._open: dict[int, weakref.ref[Figured]] = getattr(self, "_open", {})
        self._last: dict[int, Figures] = {}
        self._gone: Figures = {}

    def add(self, client: Figured) -> None:
        """Tell of a client from now on. One that is told of already is not told of twice."""
        number = id(client)
        with self._lock:
            known = self._open.get(number)
            if known is not None and known() is not client:  # one that is gone had this number
                self._leave(number, self._last.get(number, {}))
            self._open[number] = weakref.ref(client)

    def remove(self, client: Figured) -> None:
        """It is closed: what it has counted stays."""
        found = _read(client)
        with self._lock:
            if self._open.pop(id(client), None) is not None:
                self._leave(id(client), found or self._last.get(id(client), {}))

    def _leave(self, number: int, found: Figures) -> None:
        self._last.pop(number, None)
        self._gone = exported.together((self._gone, exported.lasting(found)))

    def figures(self) -> Figures:
        """Those of all clients, of one endpoint together. In a forked child they begin anew."""
        with self._lock:
            if self._pid != os.getpid():
                self._renew()
            for number, held in list(self._open.items()):
                client = held()
                if client is not None:
                    self._last[number] = _read(client) or self._last.get(number, {})
                else:
                    del self._open[number]
                    self._leave(number, self._last.get(number, {}))
            return exported.together((self._gone, *self._last.values()))


def _read(client: Figured) -> Figures:
    """Its figures; none where they cannot be had: that must not keep a client from closing."""
    try:
        return exported.figures(client.stats())
    except Exception as error:  # noqa: BLE001 - as above; the log says so
        _log.warning("figures_failed endpoint=%s error=%r", client.endpoint, error)
        return {}
