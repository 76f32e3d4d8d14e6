"""What a call does around its second request: what it asks, takes, gives back and remembers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from servingclient import Hedge, ServingError, Settings
from servingclient._ports import Hedged, Hedging, Second, World
from servingclient._types import FaultKind, Reply, Target, WireFault
from servingclient.policies.hedge import HedgePolicy, choice
from tests.story.world import (
    BUSY,
    CUT_OFF,
    NO_REPLY,
    STALE,
    TIMEOUT_S,
    Answer,
    Breaks,
    FakeWorld,
    Step,
    Steps,
    Streams,
    event_stream,
    refused,
    suspensions,
)

USUAL_S = 0.1
QUICK = Answer(takes_s=0.05, body=b'{"predictions": ["quick"]}')
LATE = Answer(takes_s=2.0, body=b'{"predictions": ["late"]}')
COST = 14


class HedgingWorld(FakeWorld):
    """A world that hedges: its usual reply takes 0.1 s, so after that a second request leaves.

    Attributes:
        delays: After how long each call that could be hedged would be.
        most_together: Places held while two requests were under way.
    """

    def __init__(self, suspends: bool, *, share: float = 1.0, known: int = 50, **more: Any):
        super().__init__(suspends, **more)
        self.policy = HedgePolicy(Hedge(max_share=share), self.quota, COST)
        for _ in range(known):
            self.policy.answered(USUAL_S)
        self.delays: list[float] = []
        self.most_together = 0

    def world(self) -> World:
        return replace(super().world(), hedging=Hedging(self.policy, _Wire(self)))


class _Wire:
    """Sends twice as the lanes do, on virtual time."""

    def __init__(self, world: HedgingWorld) -> None:
        self._world = world

    async def send(
        self,
        target: Target,
        body: bytes,
        deadline_s: float,
        *,
        max_idle_s: float,
        after_s: float,
        second: Second,
    ) -> Hedged:
        world = self._world
        world.delays.append(after_s)
        run = partial(self._run, target, body, deadline_s, max_idle_s)
        began_s = world.now_s
        first = await run(began_s)
        if first[0] <= began_s + after_s:
            return Hedged(self._ended(first))
        world.now_s = began_s + after_s
        await world._pause()
        if world.now_s >= deadline_s or not second.admitted():
            return Hedged(self._ended(first))
        world.most_together = max(world.most_together, world.inside)
        both = [first, await run(world.now_s)]
        ends: list[Any] = ["running", "running"]
        for position in sorted((0, 1), key=lambda n: both[n][0]):
            await world._pause()
            end = both[position][1]
            ends[position] = end.status if isinstance(end, Reply) else "broken"
            if (chosen := choice(ends)) is not None:
                world.now_s = both[position][0]
                reply, other = self._ended(both[chosen]), both[1 - chosen][1]
                come = ends[1 - chosen] != "running" and isinstance(other, Reply)
                return Hedged(reply, chosen > 0, other if come else None)
        raise AssertionError

    async def _run(
        self, target: Target, body: bytes, deadline_s: float, max_idle_s: float, at_s: float
    ) -> tuple[float, Reply | WireFault]:
        """When and how one request ends."""
        world = self._world
        world.now_s = at_s
        try:
            reply = await world.send(target, body, deadline_s, max_idle_s=max_idle_s)
        except WireFault as fault:
            return world.now_s, fault.with_traceback(None)
        return world.now_s, reply

    def _ended(self, end: tuple[float, Reply | WireFault]) -> Reply:
        self._world.now_s = max(self._world.now_s, end[0])
        if isinstance(end[1], WireFault):
            raise end[1]
        return end[1]


@pytest.fixture(params=["stepped", "awaited"])
def make(request: pytest.FixtureRequest) -> Callable[..., HedgingWorld]:
    return partial(HedgingWorld, request.param == "awaited")


Make = Callable[..., HedgingWorld]


def test_a_late_call_is_answered_by_its_second_request(make: Make):
    world = make(steps=[LATE, QUICK])
    started_s = world.now_s
    prediction = world.predict()
    assert prediction.predictions == ["quick"]
    assert world.now_s - started_s == pytest.approx(USUAL_S + 0.05)
    assert world.delays == [USUAL_S]
    assert [s.at_s - started_s for s in world.sends] == pytest.approx([0.0, USUAL_S])
    assert world.sends[0][:4] == world.sends[1][:4]
    stats = world.policy.stats()
    assert (stats.calls, stats.hedges, stats.wins) == (1, 1, 1)


def test_to_observers_and_the_caller_it_is_one_try(make: Make):
    world = make(steps=[LATE, QUICK])
    prediction = world.predict()
    assert [(a.status, a.cause) for a in prediction.attempts] == [(200, None)]
    assert prediction.attempts[0].duration_s == pytest.approx(USUAL_S + 0.05)
    (ended,) = world.ended
    assert ended.attempts == 1
    assert world.statuses == []


def test_a_first_request_that_comes_after_all_wins(make: Make):
    world = make(steps=[Answer(takes_s=0.2), LATE])
    assert world.predict().predictions == [3.5]
    stats = world.policy.stats()
    assert (stats.hedges, stats.wins) == (1, 0)


def test_a_call_that_is_answered_as_usual_is_sent_once(make: Make):
    world = make(steps=[Answer(takes_s=USUAL_S)])
    world.predict()
    assert len(world.sends) == 1
    assert world.policy.stats().hedges == 0


# -- which calls ----------------------------------------------------------------------------------


def test_only_calls_that_may_be_repeated(make: Make):
    world = make(steps=[LATE])
    world.run(world.calling(idempotent=False))
    assert (world.delays, world.policy.stats().calls) == ([], 0)


def test_only_first_tries(make: Make):
    world = make(steps=[CUT_OFF, LATE])
    world.predict()
    assert world.delays == [USUAL_S]
    assert len(world.sends) == 2


def test_none_before_enough_replies_are_known(make: Make):
    world = make(steps=[Answer(takes_s=USUAL_S)], known=49)
    world.predict()
    assert world.delays == []
    world.predict()
    assert world.delays == [USUAL_S]


def test_replies_to_calls_that_are_not_hedged_teach_the_delay_too(make: Make):
    world = make(steps=[Answer(takes_s=0.3)], known=0)
    for _ in range(50):
        world.run(world.calling(idempotent=False))
    assert world.policy.stats().delay_s == pytest.approx(0.3)


def test_failures_do_not_teach_it(make: Make):
    world = make(steps=[refused(400)], known=49)
    for _ in range(5):
        with pytest.raises(ServingError):
            world.predict()
    assert world.policy.stats().delay_s is None


def test_a_hedged_reply_counts_from_when_the_first_request_left(make: Make):
    world = make(steps=[LATE, QUICK], known=0)
    world.policy = HedgePolicy(Hedge(max_share=1.0, min_samples=1), world.quota, COST)
    world.policy.answered(USUAL_S)
    world.predict()
    assert world.policy.stats().delay_s == pytest.approx(USUAL_S + 0.05)


def test_streams_are_sent_once(make: Make):
    world = make(steps=[Streams(event_stream(1), takes_s=2.0)])
    opened = world.run(world.opening())
    assert world.delays == []
    world.run(opened.aclose())


# -- what it costs --------------------------------------------------------------------------------


ENDS: dict[str, list[Step]] = {
    "the second wins": [LATE, QUICK],
    "the first wins": [Answer(takes_s=0.2), LATE],
    "both fail": [Breaks(FaultKind.CUT_OFF, takes_s=0.2), CUT_OFF, refused(400)],
    "nobody answers": [NO_REPLY, NO_REPLY],
    "the second is refused": [LATE, BUSY],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_second_request_has_a_place_of_its_own_and_gives_it_back(make: Make, end: str):
    world = make(steps=ENDS[end])
    try:
        world.predict()
    except ServingError:
        pass
    assert world.most_together == 2
    assert world.inside == 0


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ([refused(413)], "no"),
        ([LATE, refused(413)], "maybe"),  # the first may run by now
        ([Breaks(FaultKind.CUT_OFF, takes_s=0.2), refused(413)], "maybe"),
    ],
)
def test_a_refusal_of_one_says_nothing_of_the_other(make: Make, steps: list[Step], sent: str):
    world = make(steps=steps)
    with pytest.raises(ServingError) as caught:
        world.predict()
    assert caught.value.sent == sent


def test_without_room_there_is_no_second_request(make: Make):
    world = make(steps=[LATE])
    real = world.try_enter
    world.try_enter = lambda: not world.inside and real()  # type: ignore[method-assign]
    world.predict()
    assert len(world.sends) == 1
    assert world.quota.available == 500
    stats = world.policy.stats()
    assert (stats.hedges, stats.calls) == (0, 1)


def test_a_good_reply_brings_the_tokens_back(make: Make):
    world = make(steps=[LATE, QUICK])
    world.predict()
    assert world.quota.available == 500


def test_an_outage_ends_hedging_with_the_quota(make: Make):
    world = make(steps=[NO_REPLY])
    for _ in range(60):
        with pytest.raises(ServingError):
            world.predict()
    assert world.policy.stats().hedges == 500 // COST
    assert len(world.sends) == 60 + 500 // COST
    assert world.inside == 0


def test_hedges_keep_to_their_share(make: Make):
    world = make(steps=[LATE], share=0.05)
    for _ in range(200):
        world.predict()
    assert world.policy.stats().hedges <= 0.05 * 200


# -- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[LATE, BUSY, QUICK], [BUSY, QUICK]], ids=["second", "first"])
def test_a_reply_that_says_no_room_pauses_hedging(make: Make, steps: list[Step]):
    world = make(steps=[*steps, LATE])
    world.predict()
    assert world.throttles == 1
    seen, sent = len(world.delays), len(world.sends)
    world.predict()
    assert len(world.delays) == seen
    world.now_s += 10.0
    world.predict()
    assert len(world.delays) == seen + 1
    assert len(world.sends) > sent


def test_a_refused_second_request_costs_the_call_nothing(make: Make):
    world = make(steps=[LATE, BUSY])
    assert world.predict().predictions == ["late"]
    assert len(world.slept) == 0


def test_a_stale_second_connection_costs_the_call_nothing(make: Make):
    world = make(steps=[LATE, STALE])
    assert world.predict().predictions == ["late"]


# -- time and cancel ------------------------------------------------------------------------------


def test_both_requests_share_the_deadline(make: Make):
    world = make(steps=[NO_REPLY])
    started_s = world.now_s
    with pytest.raises(TimeoutError):
        world.predict()
    assert world.now_s - started_s == pytest.approx(TIMEOUT_S)
    assert len({sent.deadline_s for sent in world.sends}) == 1


def test_a_deadline_before_the_delay_leaves_no_time_for_a_second(make: Make):
    world = make(steps=[LATE], settings=Settings(timeout_s=0.05))
    with pytest.raises(TimeoutError):
        world.run(world.calling(timeout_s=0.05))
    assert len(world.sends) == 1


@pytest.mark.parametrize("end", ENDS)
def test_cancelled_anywhere_it_gives_back_both_places(end: str):
    points = suspensions(HedgingWorld(True, steps=list(ENDS[end])).calling())
    assert points >= 4
    for at in range(points):
        world = HedgingWorld(True, steps=list(ENDS[end]))
        steps = Steps(world.calling())
        for _ in range(at + 1):
            steps.step()
        with pytest.raises(asyncio.CancelledError):
            steps.cancel()
        assert world.inside == 0
        assert math.isfinite(world.now_s)
