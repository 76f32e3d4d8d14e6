"""Where an emulator lives while it runs: a thread, its event loop, certificates and hosts."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from servingclient.emulator.certificates import Certificates
from servingclient.emulator.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import HostName

_JOIN_S = 10.0


class Hosting:
    """Opens the hosts of a workspace, and closes them.

    Args:
        workspace: what is served; gets the URLs.
        ports: of each host; 0 takes a free one.
        tls: https with an authority of its own, or plain http.
    """

    def __init__(self, workspace: Workspace, ports: Mapping[HostName, int], *, tls: bool) -> None:
        self.listeners: dict[HostName, Listener] = {}
        self.certificates: Certificates | None = None
        self.thread: threading.Thread | None = None
        self._workspace = workspace
        self._ports = ports
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Open all hosts.

        Raises:
            OSError: when a port is taken.
            RuntimeError: when https is wanted and ``trustme`` is missing, or it is already started.
        """
        if self.thread is not None:
            raise RuntimeError("the emulator is already started")
        self.certificates = Certificates() if self._tls else None
        self._loop = loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=loop.run_forever, name="serving-emulator", daemon=True
        )
        self.thread.start()
        try:
            # In its own thread: the caller's may be running an event loop, a notebook's always is.
            asyncio.run_coroutine_threadsafe(self._open(), loop).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close listeners and connections and wait for the thread; harmless when not running."""
        loop, thread = self._loop, self.thread
        if loop is None or thread is None:
            return
        self._loop = self.thread = None
        asyncio.run_coroutine_threadsafe(self._close(), loop).result(_JOIN_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_JOIN_S)
        loop.close()
        if self.certificates is not None:
            self.certificates.remove()
            self.certificates = None

    def do(self, action: Callable[[], None]) -> None:
        """Do something where the connections live, and wait until it is done."""
        if self._loop is None:
            action()
            return

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(_JOIN_S)

    async def _open(self) -> None:
        context = self.certificates.context if self.certificates is not None else None
        scheme = "https" if self._tls else "http"
        try:
            for host, port in self._ports.items():
                listener = self.listeners[host] = Listener(self._workspace, host, context)
                self._workspace.urls[host] = f"{scheme}://127.0.0.1:{listener.open(port)}"
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        for listener in self.listeners.values():
            await listener.close()
