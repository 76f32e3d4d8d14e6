"""Opens lanes on an event loop: name, address, TCP, TLS, all within one deadline."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any

from servingclient._types import Origin
from servingclient.transport import faults
from servingclient.transport.addresses import Address, Refuses, resolve_async
from servingclient.transport.async_lane import AsyncLane
from servingclient.transport.exchange import Limits


async def dial(
    origin: Origin,
    context: ssl.SSLContext | None,
    limits: Limits,
    deadline_s: float,
    inbox: memoryview,
    refuses: Refuses | None = None,
) -> AsyncLane:
    """Open a lane.

    Args:
        origin: Where to.
        context: TLS, or None for plain http.
        limits: Bounds of its replies.
        deadline_s: Instant at which to give up.
        inbox: Where its loop puts what arrives.
        refuses: Judges the addresses the host's name leads to; None takes any.

    Raises:
        WireFault: ``NOT_CONNECTED`` or ``TLS``; nothing was sent.
    """
    started_s = time.monotonic()
    left_s = deadline_s - started_s
    lane = AsyncLane(origin, context, limits, inbox)
    connecting = asyncio.ensure_future(_connect(lane, deadline_s, refuses))
    # Not wait_for: before Python 3.12 it can lose a cancellation, or a connection made just then.
    try:
        await asyncio.wait({connecting}, timeout=max(0.0, left_s))
    except BaseException:
        _abandon(connecting, lane)
        raise
    if not connecting.done():
        _abandon(connecting, lane)
        raise faults.dial_fault(TimeoutError(), origin)
    try:
        connecting.result()
    except (OSError, ssl.CertificateError) as error:
        lane.close()
        raise faults.dial_fault(error, origin) from None
    lane.connect_s = time.monotonic() - started_s
    return lane


async def _connect(lane: AsyncLane, deadline_s: float, refuses: Refuses | None) -> None:
    # Not create_connection's own way to several addresses: cancelled, its race leaves sockets open.
    sock = await _connected(await resolve_async(lane.origin, refuses), deadline_s)
    await asyncio.get_running_loop().create_connection(lambda: lane, sock=sock)
    await lane.shake_hands()


async def _connected(addresses: list[Address], deadline_s: float) -> socket.socket:
    """Try each address in turn, each with an equal share of the time left."""
    failure: OSError = OSError("the name has no address")
    for position, (family, address) in enumerate(addresses):
        share_s = (deadline_s - time.monotonic()) / (len(addresses) - position)
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            await _connect_one(sock, address, share_s)
        except OSError as error:
            failure = error
        else:
            return sock
    try:
        raise failure
    finally:
        del failure  # its traceback holds this frame, and with it the request, until a collection


async def _connect_one(sock: socket.socket, address: Any, share_s: float) -> None:
    """Connect within ``share_s`` or close ``sock``."""
    job = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(sock, address))

    def close(done: asyncio.Future[None]) -> None:
        if not done.cancelled():
            done.exception()  # looked at, so that nobody reports it as never retrieved
        sock.close()

    try:
        # Not wait_for: before Python 3.12 it drops a cancel that comes just as its job is done.
        await asyncio.wait({job}, timeout=max(0.0, share_s))
        if not job.done():
            raise TimeoutError
        job.result()
    except BaseException:
        job.cancel()
        # Only once the loop has let go of it: its number may be another socket's by then.
        job.add_done_callback(close)
        raise


def _abandon(connecting: asyncio.Future[None], lane: AsyncLane) -> None:
    """Nobody waits for this connection any more: whatever comes of it is closed."""

    def discard(done: asyncio.Future[None]) -> None:
        if not done.cancelled():
            done.exception()  # looked at, so that nobody reports it as never retrieved
        lane.close()

    connecting.cancel()
    connecting.add_done_callback(discard)
