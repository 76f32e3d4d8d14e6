"""Fake clients: the library's own, over a script instead of a network, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from servingclient._async_client import AsyncServingClient
from servingclient._call import Story
from servingclient._client import ServingClient
from servingclient._parts import TaskParts, ThreadParts, world_of
from servingclient._ports import World
from servingclient._types import Origin
from servingclient._watching import Observer, Reader, Tracer, Watching
from servingclient.auth.credentials import Credentials
from servingclient.policies.quota import Quota
from servingclient.settings import Settings
from servingclient.stages.functions import Api, OnEnrichmentError, Stages
from servingclient.stages.tasks import TaskHands
from servingclient.stages.threads import ThreadHands
from servingclient.testing.calls import MadeCall, Noted
from servingclient.testing.clock import TaskTime, ThreadTime, VirtualClock
from servingclient.testing.endpoint import FakeEndpoint, SentRequest
from servingclient.testing.ports import FakeAccess, FakeWire, TaskOpenGate, ThreadOpenGate
from servingclient.testing.script import Model, Step
from servingclient.transport.fork_lock import fork_lock

if TYPE_CHECKING:
    import httpx

_HOST = "https://fake.invalid"  # RFC 6761: resolves nowhere


class FakeServingClient(ServingClient):
    """A ``ServingClient`` that answers by script, at once, in virtual time.

    Everything but network, queue and sign-in is the library's own: inputs are encoded and checked,
    failures retried after their pauses, time limits kept, errors worded. So a test of an hour's
    outage takes a millisecond. There is room for all calls; batching and hedging are left out.

    Args:
        script: What happens to the first requests, in order: ``reply``, ``failure`` and the others
            of this package. Each is for one try of a call.
        model: Answers all other requests: a function of the rows, or of a chat's body.
        endpoint: Name of the endpoint.
        clock: To share one between clients; None makes one.
        settings: None takes the defaults, whatever the environment says.
        observers: As for ``ServingClient``.
        preprocess: As for ``ServingClient``, like those below.
        enrich: Likewise.
        postprocess: Likewise.
        on_enrichment_error: Likewise.
        apis: Likewise.

    Attributes:
        clock: Its time.
        calls: The calls of ``predict`` and ``stream`` so far, those of copies among them.
        requests: What was sent, by ``map`` too.

    Example:
        >>> from servingclient.testing import FakeServingClient, reply, throttled
        >>> client = FakeServingClient([throttled(retry_after_s=5), reply([0.25])])
        >>> prediction = client.predict([{"amount": 12.5}])
        >>> prediction.predictions, len(prediction.attempts), client.clock.now() >= 5.0
        ([0.25], 2, True)
    """

    def __init__(
        self,
        script: Iterable[Step] = (),
        *,
        model: Model | None = None,
        endpoint: str = "fake",
        clock: VirtualClock | None = None,
        settings: Settings | None = None,
        observers: Sequence[Observer | Tracer | Reader] = (),
        preprocess: Callable[[Any], Any] | None = None,
        enrich: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        on_enrichment_error: OnEnrichmentError = "raise",
        apis: Sequence[Api] = (),
    ) -> None:
        self.clock: VirtualClock = clock or VirtualClock()
        self.calls: list[MadeCall] = []
        self._fake = FakeEndpoint(script, model, self.clock)
        super().__init__(
            endpoint,
            host=_HOST,
            token="fake",  # noqa: S106 - goes nowhere
            settings=_alone(settings),
            observers=observers,
            preprocess=preprocess,
            enrich=enrich,
            postprocess=postprocess,
            on_enrichment_error=on_enrichment_error,
            apis=apis,
        )

    def _parts_for(
        self,
        endpoint: str,
        credentials: Credentials,
        origin: Origin | None,
        settings: Settings,
        transport: httpx.BaseTransport | None,
        watching: Watching,
    ) -> ThreadParts:
        time: Any = ThreadTime(self.clock)
        wire: Any = FakeWire(self._fake, time.sleep)
        gate: Any = ThreadOpenGate()
        access: Any = FakeAccess(endpoint)
        world = _world(time, wire, gate, access, settings, watching)
        return ThreadParts(time, wire, gate, access, ThreadHands(), None, world)

    def _follow(self, story: Story, stages: Stages) -> None:
        super()._follow(story, stages)
        noted = Noted(self._calls, self._open, self.calls)
        self._calls, self._open = noted, noted.open

    @property
    def requests(self) -> list[SentRequest]:
        """What was sent, try by try."""
        return self._fake.requests

    def add(self, *script: Step) -> None:
        """Put more steps behind those that are left."""
        self._fake.add(script)

    def assert_script_used(self) -> None:
        """Fail where steps of the script are left: less was sent than the test expected.

        Raises:
            AssertionError: There are some.
        """
        _assert_used(self._fake)


class AsyncFakeServingClient(AsyncServingClient):
    """An ``AsyncServingClient`` that answers by script, in virtual time.

    Tasks that wait at the same time wait together. Arguments, attributes and the rest are those of
    :class:`FakeServingClient`.

    Example:
        >>> from servingclient.testing import AsyncFakeServingClient, reply
        >>> client = AsyncFakeServingClient(model=lambda rows: [row["a"] for row in rows])
        >>> (await client.predict([{"a": 1.5}])).predictions
        [1.5]
    """

    def __init__(
        self,
        script: Iterable[Step] = (),
        *,
        model: Model | None = None,
        endpoint: str = "fake",
        clock: VirtualClock | None = None,
        settings: Settings | None = None,
        observers: Sequence[Observer | Tracer | Reader] = (),
        preprocess: Callable[[Any], Any] | None = None,
        enrich: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        on_enrichment_error: OnEnrichmentError = "raise",
        apis: Sequence[Api] = (),
    ) -> None:
        self.clock: VirtualClock = clock or VirtualClock()
        self.calls: list[MadeCall] = []
        self._fake = FakeEndpoint(script, model, self.clock)
        super().__init__(
            endpoint,
            host=_HOST,
            token="fake",  # noqa: S106 - goes nowhere
            settings=_alone(settings),
            observers=observers,
            preprocess=preprocess,
            enrich=enrich,
            postprocess=postprocess,
            on_enrichment_error=on_enrichment_error,
            apis=apis,
        )

    def _parts_for(
        self,
        endpoint: str,
        credentials: Credentials,
        origin: Origin | None,
        settings: Settings,
        transport: httpx.AsyncBaseTransport | None,
        watching: Watching,
    ) -> TaskParts:
        time: Any = TaskTime(self.clock)
        wire: Any = FakeWire(self._fake, time.sleep)
        gate: Any = TaskOpenGate()
        access: Any = FakeAccess(endpoint)
        world = _world(time, wire, gate, access, settings, watching)
        return TaskParts(time, wire, gate, access, TaskHands(settings.stage_threads), None, world)

    def _follow(self, story: Story, stages: Stages) -> None:
        super()._follow(story, stages)
        noted = Noted(self._calls, self._open, self.calls)
        self._calls, self._open = noted, noted.open

    @property
    def requests(self) -> list[SentRequest]:
        """What was sent, try by try."""
        return self._fake.requests

    def add(self, *script: Step) -> None:
        """Put more steps behind those that are left."""
        self._fake.add(script)

    def assert_script_used(self) -> None:
        """Fail where steps of the script are left: less was sent than the test expected.

        Raises:
            AssertionError: There are some.
        """
        _assert_used(self._fake)


def _alone(settings: Settings | None) -> Settings:
    """Settings without what has no meaning over a script."""
    return (settings or Settings()).replace(batching=None, hedge=None, proxy=None)


def _world(
    time: ThreadTime | TaskTime,
    wire: FakeWire,
    gate: Any,
    access: FakeAccess,
    settings: Settings,
    watching: Watching,
) -> World:
    chance = random.Random(0)  # noqa: S311 - the same pauses in each run
    quota = Quota(settings.retry.quota_capacity, fork_lock())
    return world_of(time, chance.random, wire, gate, access, quota, watching)


def _assert_used(endpoint: FakeEndpoint) -> None:
    left, sent = endpoint.left, len(endpoint.requests)
    if left:
        raise AssertionError(f"{left} steps of the script are left; {sent} requests were sent")
