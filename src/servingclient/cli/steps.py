"""The steps of the demo in which nothing goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib import util
from typing import Any

from servingclient._prediction import Prediction
from servingclient.cli.lab import FAST, STANDARD, Lab, Report, Seen
from servingclient.settings import Batching

PLACES = 4
MAP_ROWS = 10
_MODEL_S = 0.02


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
            return await gathered(client, lab.wines, f"async-{endpoint}")

    predictions = asyncio.run(score())
    lab.report(report, predictions, len(lab.wines))
    seen.report(report, len(lab.wines))
    report.expect(f"at most {lanes} connections (Pool.max_lanes)", seen.connections <= lanes)
    return seen


async def gathered(client: Any, wines: Sequence[Any], name: str) -> list[Prediction]:
    """A call for each wine, all at once."""
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

    with lab.endpoint(FAST, slots=PLACES, queue=PLACES, service_time_s=_MODEL_S):
        predictions = asyncio.run(score())
    lab.report(report, predictions, len(lab.wines))
    requests = len(seen.invocations)
    report.fact("requests", f"{requests} for {len(lab.wines)} calls")
    report.expect("calls share requests", requests < len(lab.wines) / 2)


def mapped(lab: Lab, report: Report) -> None:
    """All wines, in requests of a few rows each, several at once; the answers come in order."""
    seen = Seen(lab.emulator, STANDARD)
    with lab.sync(STANDARD) as client:
        values = list(client.map(lab.wines, rows_per_request=MAP_ROWS))
    right = sum(value == label for value, label in zip(values, lab.labels, strict=True))
    report.fact("requests", f"{len(seen.invocations)} of up to {MAP_ROWS} rows")
    report.fact("accuracy", f"{right} of {len(values)} wines right ({right / len(values):.1%})")
    report.expect("the predictions are the model's own", values == lab.model(lab.wines))
