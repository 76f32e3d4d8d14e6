"""From names to sockets: look-ups that hang, and kinds of address that this machine lacks."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from typing import Any

import pytest

from servingclient._types import Origin, WireFault
from servingclient.settings import Settings
from servingclient.transport.async_wire import AsyncLaneWire
from tests.scripted.server import ScriptedServer, echo
from tests.stopwatch import Stopwatch
from tests.transport.conftest import Drive
from tests.transport.kit import answer_of, body_of, origin_of, target_at


def test_input_61_a_resolver_that_hangs_does_not_hold_the_end_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answered.wait(3) and [])

    async def main() -> None:
        wire = AsyncLaneWire(Settings())
        target = target_at(Origin("https", "ws.example", 443))
        with pytest.raises(WireFault):
            await wire.send(target, b"", time.monotonic() + 0.2)
        await wire.aclose()

    with Stopwatch() as watch:
        try:
            asyncio.run(main())
        finally:
            answered.set()
    assert watch.took_s < 1


def test_an_address_of_a_kind_that_is_switched_off_is_passed_over(
    drive_lane: Drive, monkeypatch: pytest.MonkeyPatch
):
    real = socket.socket

    class NoIPv6(real):
        def __init__(self, family: int = -1, *args: Any, **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **options)

    with ScriptedServer(echo()) as server:
        found = [
            (socket.AF_INET6, 1, 6, "", ("::1", server.port, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port)),
        ]
        driver = drive_lane()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found)
        monkeypatch.setattr(socket, "socket", NoIPv6)
        target = target_at(origin_of(server, "localhost"))
        assert answer_of(driver.send(target, body_of("x"))) == "x"
