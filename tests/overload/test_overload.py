"""What a fleet does to an endpoint in trouble: goals of the reliability notes, sections 4 and 5.

Where a goal says that we do little harm, a control that does much shows that the meter measures.
"""

from __future__ import annotations

import asyncio
import math
import random
import tracemalloc
from dataclasses import replace

import pytest

from servingclient import QueueFull
from servingclient.policies.concurrency import INITIAL_CALLS
from servingclient.settings import Concurrency, Pool, Retry
from tests.overload import virtual
from tests.overload.fleet import (
    BATCH,
    CRITICAL,
    DEFAULT,
    NAIVE,
    NO_RETRY,
    OURS,
    Told,
    client,
    simulate,
    steady,
)
from tests.overload.services import Failing, Queue, Slots, Slow

pytestmark = pytest.mark.timeout(60)
"""Each test takes a few seconds on a machine of its own; it plays minutes of a fleet's calls."""

# -- an outage ------------------------------------------------------------------------------------


def outage(settings, seconds: float = 60.0) -> Told:
    """No good reply; in 60 s 600 calls for each of 8 clients."""
    return simulate(Failing(lambda _: 1.0, random.Random(1)), steady(80.0, seconds), settings)


def test_R1_a_total_outage_is_not_amplified():
    told = outage(OURS)
    assert len(told.ended) >= 8 * 590
    assert told.amplification <= 1.10
    assert outage(NAIVE, 20.0).amplification >= 3.5


def test_R1_calls_are_well_again_as_soon_as_the_endpoint_is():
    service = Failing(lambda now_s: 1.0 if 10.0 <= now_s < 40.0 else 0.0, random.Random(1))
    assert simulate(service, steady(50.0, 60.0)).recovery_s(40.0, 1.0) <= 2.0


@pytest.mark.parametrize(
    ("share", "amplification", "success"),
    [(0.1, 1.15, 0.995), (0.3, 1.40, 0.90), (0.5, 1.25, 0.55), (0.9, 1.12, 0.10)],
)
def test_R1_partial_failures_are_retried_within_bounds(share, amplification, success):
    # 600 calls for each of 8 clients; twice, since one run has some 3 % of chance in its success
    runs = [
        simulate(Failing(lambda _: share, random.Random(seed)), steady(80.0, 60.0, seed))
        for seed in (1, 2)
    ]
    assert sum(told.amplification for told in runs) / 2 <= amplification
    assert sum(told.success() for told in runs) / 2 >= success


# -- row 14: it becomes slow ----------------------------------------------------------------------


def test_row_14_slowness_is_never_retried_and_whoever_cannot_be_served_is_told():
    def took_s(now_s: float) -> float:
        return 0.02 + 2.0 * min(max(now_s - 10.0, 0.0) / 60.0, 1.0)

    told = simulate(Slow(took_s), steady(150.0, 80.0))
    assert told.amplification <= 1.0
    assert set(told.outcomes) <= {"ok", "QueueFull", "DeadlineExceeded"}
    assert told.outcomes["QueueFull"] > 0
    assert told.most_at_once <= OURS.pool.max_lanes
    assert told.goodput(70.0, 80.0) > 8 * INITIAL_CALLS / 2.0, "the limit finds that there is room"


# -- row 17: a brown-out --------------------------------------------------------------------------


RATES = pytest.mark.parametrize(("load", "well", "ill"), [(50.0, 62.0, 25.0), (90.0, 100.0, 50.0)])


def brown_out(load: float, well: float, ill: float, settings) -> float:
    """Seconds from the end of the trouble until 99 % of calls succeed again."""
    service = Queue(lambda now_s: ill if 10.0 <= now_s < 20.0 else well)
    return simulate(service, steady(load, 70.0), settings).recovery_s(20.0)


@RATES
def test_row_17_a_brown_out_ends_as_if_nobody_retried(load: float, well: float, ill: float):
    plain_s = brown_out(load, well, ill, NO_RETRY)
    assert brown_out(load, well, ill, OURS) <= 1.2 * plain_s + 5.0
    assert plain_s <= 15.0, "which takes less than the 21 s of clients without a limit"


@RATES
def test_row_17_the_control_never_leaves_it(load: float, well: float, ill: float):
    assert brown_out(load, well, ill, NAIVE) == math.inf


def test_row_17_a_brown_out_ends_where_a_call_that_is_given_up_runs_all_the_same():
    """No 504 tells of it: tries of a second end without an answer, and are made again."""

    def ends_after_s(settings) -> float:
        service = Queue(lambda now_s: 25.0 if 10.0 <= now_s < 20.0 else 62.0, patience_s=math.inf)
        hasty = settings.replace(
            pool=Pool(attempt_timeout_s=1.0),
            retry=replace(settings.retry, retry_read_timeout=True),
        )
        return simulate(service, steady(50.0, 70.0), hasty).recovery_s(20.0)

    plain_s = ends_after_s(NO_RETRY)
    assert ends_after_s(OURS) <= 1.2 * plain_s + 5.0
    assert ends_after_s(NAIVE) == math.inf


# -- row 18: it scales up -------------------------------------------------------------------------


def requests_per_s(now_s: float) -> float:
    """What an endpoint holds while it scales from 80 to 320 in 120 s."""
    return 80.0 + 2.0 * min(max(now_s - 20.0, 0.0), 120.0)


COULD = sum(min(requests_per_s(20.0 + second), 240.0) for second in range(120)) / 120


def scale_up(settings, size: float = 1.0, seed: int = 1) -> Told:
    service = Slots(lambda now_s: size * 0.2 * requests_per_s(now_s), took_s=0.2)
    return simulate(service, steady(size * 240.0, 140.0, seed), settings)


def test_row_18_429_while_the_endpoint_scales_up():
    told = scale_up(OURS)
    assert told.goodput(20.0, 140.0) >= 0.85 * COULD
    assert told.amplification <= 1.30
    assert told.recovery_s(100.0) <= 15.0  # from there on the endpoint holds the load


@pytest.mark.long
@pytest.mark.timeout(300)
def test_row_18_however_the_calls_arrive():
    recovered_s = [scale_up(OURS, seed=seed).recovery_s(100.0) for seed in range(2, 22)]
    assert max(recovered_s) <= 15.0, recovered_s
    assert sum(recovered_s) / len(recovered_s) <= 6.5, recovered_s


def test_row_18_the_control_is_worse():
    hasty = NAIVE.replace(retry=Retry(quota_capacity=10**9, throttled_base_s=0.0))
    told = scale_up(hasty, size=0.5)
    assert told.amplification >= 1.8
    assert told.recovery_s(100.0) > 15.0


# -- who goes first -------------------------------------------------------------------------------


def test_critical_calls_pass_while_an_endpoint_is_overrun():
    """Half of what is offered can be served; a tenth of it is critical."""
    ranks = [CRITICAL, *[DEFAULT] * 6, *[BATCH] * 3]
    told = simulate(
        Slots(lambda _: 16),
        steady(160.0, 40.0),
        OURS.replace(timeout_s=2.0),
        clients=1,
        ranks=ranks,
    )
    assert told.success(10.0, rank=CRITICAL) >= 0.97
    assert told.success(10.0, rank=DEFAULT) >= 0.4
    assert told.success(10.0, rank=BATCH) > 0.0, "and nobody starves"


def test_a_limit_that_is_known_from_the_start_needs_no_429_to_be_found():
    fixed = OURS.replace(concurrency=Concurrency(initial_calls=16))
    known = simulate(Slots(lambda _: 16), steady(70.0, 20.0), fixed, clients=1)
    assert known.success() >= 0.99
    assert known.amplification <= 1.05


# -- the intake -----------------------------------------------------------------------------------


def test_R7_of_ten_thousand_at_once_a_thousand_wait_and_the_others_are_told_at_once():
    rows = [{f"column_{number}": number / 7 for number in range(14)}]
    refused: list[float | None] = []

    async def call(story) -> None:
        try:
            await story.predict(rows, None, None, None, None, 5.0, True, DEFAULT)
        except QueueFull as error:
            refused.append(error.elapsed_s)

    async def come() -> tuple[int, int]:
        story, gate = client(Slow(lambda _: 1.0), OURS, Told(), 1)
        loop = asyncio.get_running_loop()
        tracemalloc.start()
        tasks = set()
        for _ in range(10_000):
            task = loop.create_task(call(story))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(0)
        waiting, grown_bytes = gate.waiting, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return waiting, grown_bytes

    waiting, grown_bytes = virtual.run(come())
    assert waiting == OURS.queue.max_calls
    assert refused == [0.0] * (10_000 - waiting - INITIAL_CALLS)
    assert grown_bytes <= 20e6
