"""servingclient in both colours, and its wire alone."""

from __future__ import annotations

import time
from typing import Any

from contenders.place import BODY, ENDPOINT, ROW, TOKEN, Place

CALL_S = 30.0
"""The deadline of one call, which is also what the client ships with."""


class CountingObserver:
    """As small as an observer gets; it is there because a production client has one.

    It also tells whether calls had to be repeated, which would make the figures wrong.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0

    def call_ended(self, event: Any) -> None:
        self.calls += 1

    def attempt_failed(self, event: Any) -> None:
        self.failures += 1

    def judge(self) -> None:
        if self.failures:
            print(f"  servingclient: {self.failures} of {self.calls} calls had a failed attempt")


def our_settings(place: Place, **changes: Any) -> Any:
    """As they ship. Where all contenders are to have so many calls under way, the limit on calls is
    that and stays there, since no peer has one; elsewhere only the queue is raised, to hold all
    callers.
    """
    from servingclient.settings import Concurrency, Pool, Queue, Settings, Tls

    calls = place.concurrency
    lanes, limit = Pool().max_lanes, Concurrency()
    if not place.as_shipped:
        lanes, limit = max(lanes, calls), Concurrency(adaptive=False, initial_calls=calls)
    return Settings(
        tls=Tls(ca_file=place.ca_file),
        pool=Pool(max_lanes=lanes, connect_timeout_s=20.0),  # 1,024 handshakes at once take seconds
        queue=Queue(max_calls=max(Queue().max_calls, calls)),
        concurrency=limit,
        **changes,
    )


class ServingClientSync:
    def __init__(self, place: Place, **changes: Any) -> None:
        from servingclient import ServingClient

        self._observer = CountingObserver()
        self.client = ServingClient(
            ENDPOINT,
            host=place.host,
            token=TOKEN,
            settings=our_settings(place, **changes),
            observers=[self._observer],
        )
        self.predict = self.client.predict

    def call(self) -> Any:
        return self.client.predict([ROW]).predictions

    def close(self) -> None:
        self.client.close()
        self._observer.judge()


class ServingClientAsync:
    def __init__(self, place: Place, **changes: Any) -> None:
        from servingclient import AsyncServingClient

        self._observer = CountingObserver()
        self.client = AsyncServingClient(
            ENDPOINT,
            host=place.host,
            token=TOKEN,
            settings=our_settings(place, **changes),
            observers=[self._observer],
        )
        self.predict = self.client.predict

    async def call(self) -> Any:
        return (await self.client.predict([ROW])).predictions

    async def aclose(self) -> None:
        await self.client.aclose()
        self._observer.judge()


class RawSync:
    """The wire alone, stepped as the client steps it: one encoded request, one reply as bytes."""

    def __init__(self, place: Place) -> None:
        from servingclient import _step
        from servingclient.transport.wire import LaneWire

        self._run = _step.run
        self._wire = LaneWire(our_settings(place))
        self._target = raw_target(place)

    def call(self) -> Any:
        deadline_s = time.monotonic() + CALL_S
        return self._run(self._wire.send(self._target, BODY, deadline_s)).body

    def close(self) -> None:
        self._wire.close()


class RawAsync:
    def __init__(self, place: Place) -> None:
        from servingclient.transport.async_wire import AsyncLaneWire

        self._wire = AsyncLaneWire(our_settings(place))
        self._target = raw_target(place)

    async def call(self) -> Any:
        return (await self._wire.send(self._target, BODY, time.monotonic() + CALL_S)).body

    async def aclose(self) -> None:
        await self._wire.aclose()


def raw_target(place: Place) -> Any:
    from servingclient.auth.headers import make_target, standard_headers
    from servingclient.auth.origin import parse_host

    bearer = (("Authorization", f"Bearer {TOKEN}"),)
    headers = standard_headers("0", extra=bearer)
    return make_target(parse_host(place.host), "POST", place.path, headers)
