"""The steps of the demo in which something goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from servingclient._prediction import Prediction
from servingclient.cli.lab import FAST, STANDARD, Lab, Report, Seen, attempts_text
from servingclient.cli.steps import PLACES, gathered
from servingclient.emulator import faults
from servingclient.errors import (
    ConnectionLost,
    DeadlineExceeded,
    RouteOptimizedRequiresOAuth,
    ServingError,
)
from servingclient.settings import Concurrency

BURST_CALLS = 24
_BUSY_S = 0.1
_TOKEN_LIFE_S = 1.0
_MODEL_S = 0.02
_DEADLINE_S = 0.25
_SLOW_S = 1.0


def pat_refused(lab: Lab, report: Report) -> None:
    """A personal access token where only OAuth is taken: said before anything is sent there."""
    seen = Seen(lab.emulator, FAST)
    with lab.sync(FAST, token=lab.emulator.token) as client:
        error = _raised(RouteOptimizedRequiresOAuth, report, lambda: client.predict(lab.wines))
    report.fact("error", error)
    report.expect("no wine is sent", seen.invocations == [])


def burst(lab: Lab, report: Report) -> None:
    """More calls at once than the endpoint has places; 429 for the rest, which come back later."""
    seen = Seen(lab.emulator, STANDARD)
    wines = lab.wines[:BURST_CALLS]

    limits: list[int] = []
    settings = lab.settings.replace(concurrency=Concurrency(initial_calls=BURST_CALLS))

    async def score() -> list[Prediction]:
        async with lab.asynchronous(STANDARD, settings=settings) as client:
            await client.warmup()
            limits.append(client.stats().concurrency.limit)
            scored = await gathered(client, wines, "burst")
            limits.append(client.stats().concurrency.limit)
            return scored

    with lab.endpoint(STANDARD, slots=PLACES, queue=PLACES, service_time_s=_BUSY_S):
        predictions = asyncio.run(score())
    lab.report(report, predictions, len(wines))
    report.fact("limit", f"{limits[0]} calls at once before, too many on purpose; {limits[1]} now")
    report.expect("the limit sinks", limits[1] < limits[0])
    report.fact("refused", f"{seen.answered(429)} x 429")
    report.expect("some calls are refused at first", seen.answered(429) > 0)
    seen.report(report, len(wines))


def token_expires(lab: Lab, report: Report) -> None:
    """Calls go on for longer than a token lives."""
    emulator = lab.emulator
    usual_s, emulator.token_ttl_s = emulator.token_ttl_s, _TOKEN_LIFE_S
    seen = Seen(emulator, FAST)
    try:
        with lab.endpoint(FAST, service_time_s=_MODEL_S), lab.sync(FAST) as client:
            client.warmup()
            before = seen.token_requests
            predictions = [
                client.predict([wine], client_request_id=f"expiring-{number}")
                for number, wine in enumerate(lab.wines)
            ]
    finally:
        emulator.token_ttl_s = usual_s
    lab.report(report, predictions, len(lab.wines))
    seconds = sum(prediction.timing.total_s for prediction in predictions)
    longest_ms = 1000 * max(prediction.timing.token_s for prediction in predictions)
    report.fact(
        "tokens",
        f"each lives {_TOKEN_LIFE_S:g} s, the calls took {seconds:.1f} s: "
        f"{seen.token_requests - before} more fetched meanwhile; the longest "
        f"wait of a call for one was {longest_ms:.1f} ms",
    )
    report.expect("the calls outlast a token", seconds > _TOKEN_LIFE_S)
    report.expect("tokens are renewed", seen.token_requests > before)
    seen.report(report, len(lab.wines))


def token_revoked(lab: Lab, report: Report) -> None:
    """A token that the service no longer takes is replaced, and the call made again, once."""
    seen = Seen(lab.emulator, STANDARD)
    with lab.sync(STANDARD) as client:
        client.predict(lab.wines, client_request_id="revoked-before")
        lab.emulator.revoke_tokens()
        prediction = client.predict(lab.wines, client_request_id="revoked-after")
    lab.report(report, [prediction], len(lab.wines))
    report.expect("the refusal and the good answer are both told", len(prediction.attempts) == 2)
    seen.report(report, 2)


def connection_reset(lab: Lab, report: Report) -> None:
    """The connection breaks after the model has run: run it again, or say that it may have run."""
    seen = Seen(lab.emulator, STANDARD)
    with lab.sync(STANDARD) as client:
        client.warmup()
        lab.emulator.script(STANDARD, faults.reset(when="after"))
        prediction = client.predict(lab.wines, client_request_id="reset-idempotent")
        lab.report(report, [prediction], len(lab.wines))
        lab.emulator.script(STANDARD, faults.reset(when="after"))
        error = _raised(
            ConnectionLost,
            report,
            lambda: client.predict(
                lab.wines, idempotent=False, client_request_id="reset-not-idempotent"
            ),
        )
    report.fact("not resent", error)
    report.expect("it runs once with idempotent=False", seen.runs["reset-not-idempotent"] == 1)
    seen.report(report, 2, allowed=2)


def gateway_page(lab: Lab, report: Report) -> None:
    """A gateway answers with an html page, once."""
    seen = Seen(lab.emulator, FAST)

    async def score() -> Prediction:
        async with lab.asynchronous(FAST) as client:
            return await client.predict(lab.wines, client_request_id="html")

    lab.emulator.script(FAST, faults.html(502))
    prediction = asyncio.run(score())
    lab.report(report, [prediction], len(lab.wines))
    report.expect("the page and the good answer are both told", len(prediction.attempts) == 2)
    seen.report(report, 1)


def deadline(lab: Lab, report: Report) -> None:
    """The model takes longer than the caller has."""
    seen = Seen(lab.emulator, STANDARD)
    lab.emulator.script(STANDARD, faults.slow(_SLOW_S))
    with lab.sync(STANDARD) as client:
        client.warmup()
        started_s = time.perf_counter()
        error = _raised(
            DeadlineExceeded,
            report,
            lambda: client.predict(lab.wines, timeout=_DEADLINE_S, client_request_id="deadline"),
        )
        spent_s = time.perf_counter() - started_s
    report.fact("error", error)
    report.fact(
        "time",
        f"{1000 * spent_s:.0f} ms of {1000 * _DEADLINE_S:.0f} ms allowed; the "
        f"model takes {1000 * _SLOW_S:.0f} ms",
    )
    report.expect("it ends before the model does", spent_s < _SLOW_S)
    seen.report(report, 1)


def _raised(kind: type[ServingError], report: Report, call: Callable[[], object]) -> str:
    """What was raised, in words; it must be ``kind``."""
    try:
        call()
    except kind as error:
        tries = f" Tries: {attempts_text(error.attempts)}." if error.attempts else ""
        return f"{kind.__name__}: {error}{tries}"
    report.expect(f"{kind.__name__} is raised", held=False)
    return "none"
