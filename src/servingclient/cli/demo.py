"""``servingclient demo``: real data through the client, while more and more goes wrong.

Each step is a function that says what it found and what must be so; the exit code tells whether all
of it was.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from importlib import util
from typing import Any

from servingclient._prediction import Prediction
from servingclient._version import __version__
from servingclient.cli.lab import FAST, STANDARD, Lab, Report, Seen, attempts_text, laboratory
from servingclient.cli.screen import Screen, screen
from servingclient.emulator import faults
from servingclient.errors import (
    ConnectionLost,
    DeadlineExceeded,
    RouteOptimizedRequiresOAuth,
    ServingError,
)
from servingclient.settings import Batching, Concurrency

_BURST_CALLS = 24
_PLACES = 4
_BUSY_S = 0.1
_MAP_ROWS = 10
_TOKEN_LIFE_S = 1.0
_MODEL_S = 0.02
_DEADLINE_S = 0.25
_SLOW_S = 1.0


def run(*, plain: bool = False) -> int:
    """Run all steps and print what they found.

    Args:
        plain: No colours, also on a terminal.

    Returns:
        0 when every step went as expected, 1 otherwise.
    """
    out = screen(plain=plain)
    started_s = time.perf_counter()
    try:
        with laboratory() as lab:
            _introduce(out, lab)
            failed = [
                title
                for number, (title, step) in enumerate(STEPS, 1)
                if not _show(out, f"{number:2}. {title}", step, lab)
            ]
            _sum_up(out, lab)
    except RuntimeError as missing:
        sys.stderr.write(f"servingclient demo: {missing}\n")
        return 1
    spent = f"{len(STEPS)} steps in {time.perf_counter() - started_s:.1f} s"
    if failed:
        out.verdict(f"{spent}; not as expected: {'; '.join(failed)}", good=False)
        return 1
    out.verdict(f"{spent}, all as expected", good=True)
    return 0


def _introduce(out: Screen, lab: Lab) -> None:
    data = (
        f"UCI Wine (CC BY 4.0): {lab.total} wines, {len(lab.wines[0])} measurements each, "
        "3 cultivars to tell apart"
    )
    model = (
        f"nearest centroid, fitted to {lab.total - len(lab.wines)} wines; the other "
        f"{len(lab.wines)} are scored"
    )
    out.heading(f"servingclient {__version__}: wines on a local Databricks Model Serving")
    out.facts(
        [
            ("data", data),
            ("model", model),
            ("workspace", f"{lab.emulator.host}, endpoint {STANDARD}"),
            ("data plane", f"{lab.emulator.serving_host}, route-optimized endpoint {FAST}"),
        ]
    )


def _show(out: Screen, heading: str, step: Callable[[Lab, Report], None], lab: Lab) -> bool:
    out.heading(heading)
    report = Report()
    try:
        step(lab, report)
    except Exception as error:  # noqa: BLE001 - the next step may still tell something
        report.expect(f"it ends without {type(error).__name__}: {error}", held=False)
    out.facts(report.facts)
    if report.skipped is not None:
        out.verdict(f"skipped: {report.skipped}", good=True)
    elif report.failed:
        out.verdict(f"NOT AS EXPECTED: {'; '.join(report.failed)}", good=False)
    else:
        out.verdict("ok", good=True)
    return not report.failed


def _sum_up(out: Screen, lab: Lab) -> None:
    emulator = lab.emulator
    asked = sum(record.kind == "invocation" for record in emulator.requests)
    ran = sum(sum(emulator.executions(name).values()) for name in (STANDARD, FAST))
    opened = emulator.connections
    out.heading("In all")
    out.facts(
        [
            ("requests", f"{asked} for predictions answered; the model ran {ran} times"),
            ("tokens", f"{emulator.token_requests} fetched"),
            (
                "connections",
                f"{opened['workspace']} to the workspace, {opened['serving']} to the data plane",
            ),
        ]
    )


# ---------------------------------------------------------------- nothing goes wrong


def sync_standard(lab: Lab, report: Report) -> None:
    """All wines in one call, from a client that is warm."""
    seen = Seen(lab.emulator, STANDARD)
    with lab.sync(STANDARD) as client:
        started_s = time.perf_counter()
        client.warmup()
        warm_ms = 1000 * (time.perf_counter() - started_s)
        report.fact("warm-up", f"{warm_ms:.1f} ms for address, token and a connection")
        prediction = client.predict(lab.wines, client_request_id="sync-standard")
    lab.report(report, [prediction], len(lab.wines))
    report.expect("a warm call waits for no token", prediction.timing.token_s == 0.0)
    report.expect("a warm call opens no connection", prediction.timing.connect_s == 0.0)
    seen.report(report, 1)


def async_standard(lab: Lab, report: Report) -> None:
    """A call for each wine, all at once."""
    _one_by_one(lab, report, STANDARD)


def sync_fast(lab: Lab, report: Report) -> None:
    """The same call; the client finds the endpoint's URL and a token for it."""
    seen = Seen(lab.emulator, FAST)
    with lab.sync(FAST) as client:
        prediction = client.predict(lab.wines, client_request_id="sync-fast")
    lab.report(report, [prediction], len(lab.wines))
    report.expect("the endpoint's own host is asked", seen.only("serving"))
    report.fact(
        "tokens",
        f"{seen.token_requests}: for the workspace, to read the endpoint's "
        "description, and for the endpoint",
    )
    seen.report(report, 1)


def async_fast(lab: Lab, report: Report) -> None:
    """A call for each wine, all at once, to the endpoint's own host."""
    seen = _one_by_one(lab, report, FAST)
    report.expect("the endpoint's own host is asked", seen.only("serving"))
    report.expect("all calls share two tokens", seen.token_requests == 2)


def _one_by_one(lab: Lab, report: Report, endpoint: str) -> Seen:
    seen = Seen(lab.emulator, endpoint)
    lanes = lab.settings.pool.max_lanes

    async def score() -> list[Prediction]:
        async with lab.asynchronous(endpoint) as client:
            return await _gather(client, lab.wines, f"async-{endpoint}")

    predictions = asyncio.run(score())
    lab.report(report, predictions, len(lab.wines))
    seen.report(report, len(lab.wines))
    report.expect(f"at most {lanes} connections (Pool.max_lanes)", seen.connections <= lanes)
    return seen


async def _gather(client: Any, wines: Sequence[Any], name: str) -> list[Prediction]:
    calls = (
        client.predict([wine], client_request_id=f"{name}-{number}")
        for number, wine in enumerate(wines)
    )
    return list(await asyncio.gather(*calls))


def frame(lab: Lab, report: Report) -> None:
    """A pandas DataFrame in, one out."""
    if util.find_spec("pandas") is None:
        report.skipped = "pandas is not installed"
        return
    import pandas as pd

    seen = Seen(lab.emulator, STANDARD)
    sent = pd.DataFrame(lab.wines)
    with lab.sync(STANDARD) as client:
        prediction = client.predict(sent, client_request_id="frame")
    lab.report(report, [prediction], len(lab.wines))
    got = prediction.to_pandas()
    report.fact(
        "frames",
        f"{sent.shape[0]} x {sent.shape[1]} sent, {got.shape[0]} x "
        f"{got.shape[1]} back: {', '.join(map(str, got.columns))}",
    )
    report.expect("a row comes back for each row", len(got) == len(sent))
    seen.report(report, 1)


def shared(lab: Lab, report: Report) -> None:
    """A call for each wine, all at once, which share requests while the endpoint is busy."""
    seen = Seen(lab.emulator, FAST)
    settings = lab.settings.replace(batching=Batching())

    async def score() -> list[Prediction]:
        async with lab.asynchronous(FAST, settings=settings) as client:
            await client.warmup()
            return await asyncio.gather(*(client.predict([wine]) for wine in lab.wines))

    with lab.endpoint(FAST, slots=_PLACES, queue=_PLACES, service_time_s=_MODEL_S):
        predictions = asyncio.run(score())
    lab.report(report, predictions, len(lab.wines))
    requests = len(seen.invocations)
    report.fact("requests", f"{requests} for {len(lab.wines)} calls")
    report.expect("calls share requests", requests < len(lab.wines) / 2)


def mapped(lab: Lab, report: Report) -> None:
    """All wines, in requests of a few rows each, several at once; the answers come in order."""
    seen = Seen(lab.emulator, STANDARD)
    with lab.sync(STANDARD) as client:
        values = list(client.map(lab.wines, rows_per_request=_MAP_ROWS))
    right = sum(value == label for value, label in zip(values, lab.labels, strict=True))
    report.fact("requests", f"{len(seen.invocations)} of up to {_MAP_ROWS} rows")
    report.fact("accuracy", f"{right} of {len(values)} wines right ({right / len(values):.1%})")
    report.expect("the predictions are the model's own", values == lab.model(lab.wines))


# ---------------------------------------------------------------- something goes wrong


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
    wines = lab.wines[:_BURST_CALLS]

    limits: list[int] = []
    settings = lab.settings.replace(concurrency=Concurrency(initial_calls=_BURST_CALLS))

    async def score() -> list[Prediction]:
        async with lab.asynchronous(STANDARD, settings=settings) as client:
            await client.warmup()
            limits.append(client.stats().concurrency.limit)
            scored = await _gather(client, wines, "burst")
            limits.append(client.stats().concurrency.limit)
            return scored

    with lab.endpoint(STANDARD, slots=_PLACES, queue=_PLACES, service_time_s=_BUSY_S):
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


STEPS: list[tuple[str, Callable[[Lab, Report], None]]] = [
    ("sync client, standard endpoint: all wines in one call", sync_standard),
    ("async client, standard endpoint: a call for each wine, all at once", async_standard),
    ("sync client, route-optimized endpoint", sync_fast),
    ("async client, route-optimized endpoint: a call for each wine, all at once", async_fast),
    ("a pandas DataFrame in, one out", frame),
    ("async client: a call for each wine, batched", shared),
    (f"map: all wines, {_MAP_ROWS} a request", mapped),
    ("a personal access token on the route-optimized endpoint", pat_refused),
    (f"a burst: {_BURST_CALLS} calls at once, {_PLACES} places and a queue of {_PLACES}", burst),
    ("a token that expires midway", token_expires),
    ("all tokens revoked midway", token_revoked),
    ("the connection is reset after the model has run", connection_reset),
    ("a gateway answers html 502, once", gateway_page),
    ("the model takes longer than the caller has", deadline),
]
