"""Batching as people write it by hand: a short wait for company, then one request of httpx."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson

from contenders.place import Place
from contenders.plain import HttpxAsync

LINGER_S = 0.002
MOST_ROWS = 32


class Scored(NamedTuple):
    """What a caller gets, as from ``ServingClient.predict``."""

    predictions: list[Any]


Waiting = list[tuple[dict[str, Any], "asyncio.Future[Scored]"]]


class LingeringHttpx:
    """The first row starts a timer; what came by its end, or 32 rows, leave together."""

    def __init__(self, place: Place) -> None:
        self._http = HttpxAsync(place)
        self._loop = asyncio.get_running_loop()
        self._waiting: Waiting = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def predict(self, rows: list[dict[str, Any]]) -> Scored:
        answer: asyncio.Future[Scored] = self._loop.create_future()
        self._waiting.append((rows[0], answer))
        if len(self._waiting) == MOST_ROWS:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self._flush)
        return await answer

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        sending = self._loop.create_task(self._send(batch))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, batch: Waiting) -> None:
        rows = [row for row, _ in batch]
        split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        try:
            predictions = await self._request({"dataframe_split": split})
        except Exception as error:  # noqa: BLE001  each caller gets it
            for _, answer in batch:
                answer.set_exception(error)
        else:
            for (_, answer), prediction in zip(batch, predictions, strict=True):
                answer.set_result(Scored([prediction]))

    async def _request(self, body: dict[str, Any]) -> Any:
        reply = await self._http.client.post(self._http.url, json=body)
        return reply.raise_for_status().json()["predictions"]

    async def aclose(self) -> None:
        await self._http.aclose()


class LingeringHttpxOrjson(LingeringHttpx):
    """The same with the fastest JSON there is, which few think of."""

    async def _request(self, body: dict[str, Any]) -> Any:
        return await self._http.post(orjson.dumps(body))
