"""How a service ends: from SIGTERM to the end of its process."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, number


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How long a service goes on after SIGTERM.

    Raises:
        ConfigError: A value is no number, or the two are the wrong way round.
    """

    notice_s: float = 5.0
    """Seconds in which it answers on and says that it is not ready, so that load balancers stop
    sending. Kubernetes takes an ending pod out of its services at the same time as it sends
    SIGTERM, and nodes hear of it some seconds later. With 0 the server stops listening at once."""
    within_s: float = 25.0
    """Seconds after SIGTERM when requests that still run are ended with 503. Kubernetes kills after
    30 s (``terminationGracePeriodSeconds``), as does gunicorn (``--graceful-timeout``)."""

    def __post_init__(self) -> None:
        number(self, "notice_s", "within_s")
        if self.within_s < self.notice_s:
            raise ConfigError(
                f"Drain.within_s is {self.within_s:g} and notice_s {self.notice_s:g}: requests "
                "must not be ended before the service stops taking new ones. Raise within_s."
            )


class Ending:
    """Whether the service is ending, and the requests that still run.

    Attributes:
        begun: It is about to end: not ready, connections are closed after their replies.
        closed: Nothing new is begun.
        running: The requests under way, a task each.
    """

    begun: bool
    closed: bool

    def __init__(self, rules: Drain) -> None:
        self._rules = rules
        self._timers: list[asyncio.TimerHandle] = []
        self.running: set[asyncio.Task[Any]] = set()
        self.begun = self.closed = False

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Serve, from here to the end of the block, and listen for SIGTERM.

        Python lets the main thread alone listen to signals; elsewhere the end of the block is all
        that is heard.
        """
        self.begun = self.closed = False
        listens = threading.current_thread() is threading.main_thread()
        try:
            if listens:
                with self._listening(asyncio.get_running_loop()):
                    yield
            else:
                yield
        finally:
            self.begun = self.closed = True
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()

    @contextmanager
    def _listening(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        servers = signal.getsignal(signal.SIGTERM)

        def pass_on() -> None:
            """Tell the server, which closes its sockets and waits for requests under way."""
            self.closed = True
            if callable(servers):
                servers(signal.SIGTERM, None)
            elif servers is not None:
                signal.signal(signal.SIGTERM, servers)
                signal.raise_signal(signal.SIGTERM)

        def begin() -> None:
            if not self.begun:
                self.begun = True
                self._timers = [
                    loop.call_later(self._rules.notice_s, pass_on),
                    loop.call_later(self._rules.within_s, self._end_requests),
                ]

        def told(_number: int, _frame: FrameType | None) -> None:
            # systemd tells a worker and its parent, and the parent the worker: twice is once
            loop.call_soon_threadsafe(begin)

        signal.signal(signal.SIGTERM, told)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is told:
                signal.signal(signal.SIGTERM, servers)

    def _end_requests(self) -> None:
        for task in list(self.running):
            task.cancel()
