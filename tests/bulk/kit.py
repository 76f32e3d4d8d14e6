"""A bulk job as either door's user would run it, and what the emulator saw of it."""

from __future__ import annotations

from typing import Any

import orjson

from servingclient import Block, ServingError
from servingclient.emulator import Emulator, RequestRecord
from tests.doors.kit import Client, Door, invocations


def mapped(door: Door, client: Client, inputs: Any, **options: Any) -> list[Any]:
    """All results."""
    return list(door.run(as_list(door, client, inputs, options)))


def as_list(door: Door, client: Client, inputs: Any, options: dict[str, Any]) -> Any:
    if door.colour == "sync":
        with client.map(inputs, **options) as rows:
            return list(rows)

    async def collect() -> list[Any]:
        async with client.map(inputs, **options) as rows:
            return [row async for row in rows]

    return collect()


def blocks(door: Door, client: Client, inputs: Any, **options: Any) -> list[Block]:
    """All results, request by request."""
    if door.colour == "sync":
        return list(client.map(inputs, **options).blocks())

    async def collect() -> list[Block]:
        return [block async for block in client.map(inputs, **options).blocks()]

    return list(door.run(collect()))


def until_error(
    door: Door, client: Client, inputs: Any, **options: Any
) -> tuple[list[Any], Exception]:
    """Results up to an exception, and that."""
    seen: list[Any] = []

    def sync() -> Exception:
        try:
            for row in client.map(inputs, **options):
                seen.append(row)  # noqa: PERF402 - what came before an exception counts
        except Exception as error:  # noqa: BLE001 - the outcome
            return error
        raise AssertionError("it did not fail")

    async def asynchronous() -> Exception:
        try:
            async for row in client.map(inputs, **options):
                seen.append(row)  # noqa: PERF401 - likewise
        except Exception as error:  # noqa: BLE001 - the outcome
            return error
        raise AssertionError("it did not fail")

    error = sync() if door.colour == "sync" else door.run(asynchronous())
    return seen, error


def errors_of(results: list[Any]) -> dict[int, ServingError]:
    """The rows that failed."""
    return {row: value for row, value in enumerate(results) if isinstance(value, ServingError)}


def sent(emulator: Emulator, endpoint: str) -> list[RequestRecord]:
    """What was sent to be scored there."""
    return [record for record in invocations(emulator) if record.endpoint == endpoint]


def rows_in(record: RequestRecord) -> list[Any]:
    """The first value of each row of a request."""
    body = orjson.loads(record.body or b"{}")
    rows = body["dataframe_split"]["data"] if "dataframe_split" in body else body["inputs"]
    return [row[0] if isinstance(row, list) else row for row in rows]
