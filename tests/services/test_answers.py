"""What callers of a service are told when a call fails, and what they are not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from servingclient import Concurrency, Queue, Retry, errors
from servingclient.emulator import Emulator, faults
from servingclient.integrations.fastapi import Serving
from servingclient.integrations.fastapi.problems import MEDIA_TYPE, problem_of
from tests.services.kit import ONCE, ROW, calling, making, scoring, service

SAID = "secret words of the service about row 12.5"


@pytest.mark.parametrize(
    ("fault", "status", "error", "wait"),
    [
        (faults.throttled(), 429, "Throttled", "1"),
        (faults.throttled(retry_after=7), 429, "Throttled", "7"),
        (faults.throttled(retry_after=1.2), 429, "Throttled", "2"),
        (faults.throttled(retry_after="absurd"), 429, "Throttled", "60"),
        (faults.answer(503, headers={"retry-after": "3"}), 503, "ServerError", "3"),
        (faults.html(503), 502, "ServerError", None),
        (faults.html(502), 502, "ServerError", None),
        (faults.answer(504, b"slow"), 504, "ServerError", None),
        (faults.reset(), 502, "ConnectionLost", None),
        (faults.login_page(), 502, "ResponseFormatError", None),
        (faults.answer(400, f'{{"message": "{SAID}"}}'.encode()), 400, "BadRequest", None),
        (faults.answer(403, b'{"error_code": "PERMISSION_DENIED"}'), 502, "PermissionDenied", None),
        (faults.answer(404, b"{}"), 502, "NotFound", None),
    ],
)
async def test_what_the_endpoint_does_decides_the_answer(
    emulator: Emulator, fault: Any, status: int, error: str, wait: str | None
) -> None:
    async with service(emulator) as caller:
        emulator.always("demo", fault)
        reply = await caller.post("/score", json=[ROW])
    assert reply.status_code == status
    assert reply.headers["content-type"] == MEDIA_TYPE
    assert reply.headers.get("retry-after") == wait
    told = reply.json()
    assert told["status"] == status
    assert told["error"] == error
    assert told["detail"]
    assert told.get("retry_after_s") == (None if wait is None else int(wait))


async def test_a_good_answer_passes(emulator: Emulator) -> None:
    async with service(emulator) as caller:
        reply = await caller.post("/score", json=[ROW])
    assert (reply.status_code, reply.json()) == (200, [3.0])


def test_time_that_ran_out_while_the_endpoint_was_full_is_a_429() -> None:
    late, full = errors.DeadlineExceeded(SAID), errors.Throttled(SAID)
    full.retry_after_s = 4.0
    late.__cause__ = full
    assert (problem_of(late).status, problem_of(late).headers()) == (429, {"retry-after": "4"})
    late.__cause__ = errors.ConnectionLost(SAID)
    assert (problem_of(late).status, problem_of(late).headers()) == (504, {})


async def test_a_wait_that_is_longer_than_the_call_is_a_429(emulator: Emulator) -> None:
    patient = ONCE.replace(timeout_s=2.0, retry=Retry())
    async with calling(scoring(Serving(making(emulator, settings=patient)))) as caller:
        emulator.always("demo", faults.throttled(retry_after=9))
        reply = await caller.post("/score", json=[ROW])
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "9")
    assert reply.json()["sent"] == "no"


async def test_the_answer_tells_nothing_of_ours_and_the_log_does(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "servingclient.service")
    async with service(emulator) as caller:
        emulator.always("demo", faults.answer(500, f'{{"message": "{SAID}"}}'.encode()))
        reply = await caller.post("/score", json=[{"a": 7391739.25}])
    (line,) = caplog.messages
    assert line.startswith("request_failed status=502 error=ServerError endpoint=demo ")
    assert SAID in line
    for hidden in (SAID, "demo", emulator.host, "127.0.0.1", emulator.token, "7391739"):
        assert hidden not in reply.text


async def test_an_input_that_cannot_be_sent_names_its_row(emulator: Emulator) -> None:
    async def score(request: Request) -> JSONResponse:
        rows = [{"when": 1}, {"when": object()}]
        return JSONResponse((await (await model(request)).predict(rows)).predictions)

    serving = Serving(making(emulator))
    model = serving.client()
    app = Starlette(routes=[Route("/score", score)], lifespan=serving.lifespan)
    serving.install(app)  # starlette alone
    async with calling(app) as caller:  # type: ignore[arg-type]
        reply = await caller.get("/score")
    assert reply.status_code == 400
    assert reply.json()["row"] == 1
    assert reply.json()["sent"] == "no"


async def test_too_many_callers_are_told_to_come_again(emulator: Emulator) -> None:
    narrow = ONCE.replace(
        concurrency=Concurrency(adaptive=False, initial_calls=1), queue=Queue(max_calls=1)
    )
    async with calling(scoring(Serving(making(emulator, settings=narrow)))) as caller:
        emulator.always("demo", faults.slow(0.5))
        replies = await asyncio.gather(*(caller.post("/score", json=[ROW]) for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 503, 503]
    (told,) = {reply.json()["error"] for reply in replies if reply.status_code == 503}
    assert told == "QueueFull"
    assert all(reply.headers["retry-after"] == "1" for reply in replies if reply.status_code == 503)


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ServingError)
]
WRONG_SETUP = ("ConfigError", "UntrustedEndpointError", "RouteOptimizedRequiresOAuth")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_its_answer(kind: type[errors.ServingError]) -> None:
    problem = problem_of(kind(SAID))
    own_fault = (*WRONG_SETUP, "WrongLoopError", "ServingError", "CheckpointError")
    assert (problem.status == 500) == (kind.__name__ in own_fault)
    assert problem.status in (400, 413, 429, 500, 502, 503, 504)
    assert (problem.retry_after_s is not None) == (problem.status in (429, 503))
    assert SAID not in str(problem.body())
    assert problem.body()["error"] == kind.__name__
