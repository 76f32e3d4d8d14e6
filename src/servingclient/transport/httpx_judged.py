"""Addresses are judged below httpx too.

A client of an external API refuses addresses that are not public, after its host's name was
resolved. While httpx is patched its requests go through a stock transport, which resolves names
itself; so that one is given a backend that resolves, judges, and connects to the very addresses it
judged: a name that is resolved again may lead elsewhere by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from servingclient._types import Origin
from servingclient.transport.addresses import Address, Refuses, resolve, resolve_async
from servingclient.transport.readiness import LONGEST_WAIT_S

SocketOptions = Iterable[Any]


def judge(transport: httpx.HTTPTransport, refuses: Refuses) -> None:
    """Have ``transport`` connect to no address that is refused."""
    pool: Any = transport._pool  # noqa: SLF001 - httpx takes no backend
    pool._network_backend = _Judged(pool._network_backend, refuses)  # noqa: SLF001


def judge_async(transport: httpx.AsyncHTTPTransport, refuses: Refuses) -> None:
    """``judge`` for asyncio."""
    pool: Any = transport._pool  # noqa: SLF001
    pool._network_backend = _AsyncJudged(pool._network_backend, refuses)  # noqa: SLF001


class _Judged(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, refuses: Refuses) -> None:
        self._backend = backend
        self._refuses = refuses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        deadline_s = _deadline(timeout)
        try:
            found = resolve(Origin("https", host, port), deadline_s, self._refuses)
        except OSError as error:
            raise _failed(error) from error
        for address in found[:-1]:
            try:
                return self._connect(address, port, deadline_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                pass  # the next may answer
        return self._connect(found[-1], port, deadline_s, local_address, socket_options)

    def _connect(
        self,
        address: Address,
        port: int,
        deadline_s: float,
        local_address: str | None,
        socket_options: SocketOptions | None,
    ) -> httpcore.NetworkStream:
        host, left_s = address[1][0], _left(deadline_s)
        return self._backend.connect_tcp(host, port, left_s, local_address, socket_options)


class _AsyncJudged(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend, refuses: Refuses) -> None:
        self._backend = backend
        self._refuses = refuses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        deadline_s = _deadline(timeout)
        resolving = resolve_async(Origin("https", host, port), self._refuses)
        try:
            found = await asyncio.wait_for(resolving, _left(deadline_s))
        except (OSError, asyncio.TimeoutError) as error:
            raise _failed(error) from error
        for address in found[:-1]:
            try:
                return await self._connect(address, port, deadline_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                pass  # the next may answer
        return await self._connect(found[-1], port, deadline_s, local_address, socket_options)

    async def _connect(
        self,
        address: Address,
        port: int,
        deadline_s: float,
        local_address: str | None,
        socket_options: SocketOptions | None,
    ) -> httpcore.AsyncNetworkStream:
        host, left_s = address[1][0], _left(deadline_s)
        return await self._backend.connect_tcp(host, port, left_s, local_address, socket_options)


def _deadline(timeout_s: float | None) -> float:
    return time.monotonic() + (LONGEST_WAIT_S if timeout_s is None else timeout_s)


def _left(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _failed(error: Exception) -> Exception:
    slow = isinstance(error, (TimeoutError, asyncio.TimeoutError))
    return (httpcore.ConnectTimeout if slow else httpcore.ConnectError)(str(error))
